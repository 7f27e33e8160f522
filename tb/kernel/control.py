"""A host's accesses to the registers of a kernel, one at a time; tb/engines/control.h is the same.

The host offers address and data at once, each from the first cycle on in which its pattern does not
stall it, and takes the answer. A kernel may take address and data in any order.
"""

from dataclasses import dataclass
from typing import NamedTuple

from ..memory.model import CHANGED, UNASKED, VALID_IN_RESET, WITHDREW, Pattern, Violations
from ..memory.rules import CHANNELS
from ..stalls import Stall

__all__ = ["Control", "ControlPins", "ControlSample"]


class ControlSample(NamedTuple):
    """What a kernel drives."""

    awready: int = 0
    wready: int = 0
    arready: int = 0
    bvalid: int = 0
    bresp: int = 0
    rvalid: int = 0
    rresp: int = 0
    rdata: int = 0


@dataclass(slots=True)
class ControlPins:
    """What the host drives."""

    awvalid: bool = False
    wvalid: bool = False
    arvalid: bool = False
    bready: bool = False
    rready: bool = False
    address: int = 0
    data: int = 0


class Control:
    """The host's end of an AXI4-Lite port.

    Parameters
    ----------
    stalls : Stall
        When the host neither offers nor takes.
    name : str
        Of the port.
    violations : Violations
        Where broken rules are noted.
    """

    def __init__(self, stalls: Stall, name: str, violations: Violations) -> None:
        self._name, self._violations = name, violations
        self._stalls = {channel: Pattern(stalls, f"{name} {channel}") for channel in CHANNELS}
        self.restart()

    def restart(self) -> None:
        """Forget the access that is on its way."""
        self.pins = ControlPins()
        self.response = self.data = 0
        self._left: set[str] = set()
        self._waiting: dict[str, tuple[int, ...]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether an access is on its way."""
        return bool(self._left)

    def begin(self, address: int, value: int | None) -> None:
        """Write, or read if there is no value."""
        self.pins.address, self.pins.data = address, value or 0
        self._left |= {"ar", "r"} if value is None else {"aw", "w", "b"}

    def drive(self, cycle: int) -> ControlPins:
        """Return what the kernel gets in a cycle."""
        pins = self.pins
        for channel in ("aw", "w", "ar"):
            if channel in self._left and not self._stalls[channel](cycle):
                setattr(pins, f"{channel}valid", True)
        pins.bready, pins.rready = not self._stalls["b"](cycle), not self._stalls["r"](cycle)
        return pins

    def sample(self, cycle: int, got: ControlSample) -> None:
        """Take note of what the kernel does in a cycle."""
        pins = self.pins
        for channel in ("aw", "w", "ar"):
            if getattr(pins, f"{channel}valid") and getattr(got, f"{channel}ready"):
                setattr(pins, f"{channel}valid", False)
                self._left.discard(channel)
        is_written = "b" in self._left and not self._left & {"aw", "w"}
        is_read = "r" in self._left and "ar" not in self._left
        self._watch(cycle, "b", got.bvalid, pins.bready, (got.bresp,), is_written)
        self._watch(cycle, "r", got.rvalid, pins.rready, (got.rresp, got.rdata), is_read)
        if is_written and got.bvalid and pins.bready:
            self._left.discard("b")
            self.response = got.bresp
        if is_read and got.rvalid and pins.rready:
            self._left.discard("r")
            self.response, self.data = got.rresp, got.rdata

    def sample_reset(self, got: ControlSample) -> None:
        """Take note of what the kernel does in a reset, after its first edge."""
        for channel, valid in (("b", got.bvalid), ("r", got.rvalid)):
            if valid:
                self._violations.report(0, f"{self._name} {channel}", VALID_IN_RESET)

    def _watch(
        self,
        cycle: int,
        channel: str,
        valid: int,
        ready: int,
        payload: tuple[int, ...],
        is_asked: bool,
    ) -> None:
        stream, held = f"{self._name} {channel}", self._waiting.pop(channel, None)
        if held is not None and not valid:
            self._violations.report(cycle, stream, WITHDREW)
        if held is not None and valid and held != payload:
            self._violations.report(cycle, stream, CHANGED)
        if held is None and valid and not is_asked:
            self._violations.report(cycle, stream, UNASKED)
        if valid and not ready:
            self._waiting[channel] = payload
