"""A generated kernel in simulation, behind the calls that a card has."""

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...rtl.control.kernel_map import VERSION
from ...rtl.kernel.code import Code
from ...rtl.kernel.kernel import Kernel
from ...tb.engines import ENGINES
from ...tb.engines.cache import Cache
from ...tb.errors import AccessError, CallError, InputError
from ...tb.kernel import KernelSimulation, start_kernel
from ...tb.kernel.host import Host
from ...tb.kernel.image import CHANNEL_BYTES, Bytes
from ...tb.memory.parameters import MemoryModel
from .backend import Status
from .buffer import PAGE, Region
from .check import is_integer
from .errors import LaunchError
from .folder import read_folder

__all__ = ["Place", "Simulated"]

# Long enough for a call of the library to cost nothing, short enough for a timeout to be one.
_SLICE_SECONDS = 0.05

_CAPTURE_READS = 1000

_START, _DONE = 1 << 0, 1 << 1


class Place(NamedTuple):
    """Bytes in a simulated channel."""

    channel: int
    offset: int


class Simulated:
    """A simulated kernel; a :class:`~.backend.Backend`.

    What is simulated is the RTLIL in the folder, not what this version would generate.

    Parameters
    ----------
    path : path
        A folder that ``qkloom generate`` wrote for a chip.
    engine : str
        ``cxxrtl``, ``verilator`` or ``pysim``.
    channel_bytes : int
        Bytes of a memory channel, a multiple of 4096 up to 256 MB; the machine's memory takes up
        what is written.
    model : MemoryModel, optional
        Other memory than HBM2 without faults; its ``storage_bytes`` come before ``channel_bytes``.
    waves : path, optional
        VCD file, there when the device is closed.
    cache : Cache, optional
        Where built simulators are kept, instead of the user's cache folder.

    Members
    -------
    kernel : Kernel
        The kernel's parameters and registers.
    name : str
        ``sim`` and the chip's name.
    simulation : KernelSimulation
        What runs: counters, memory, faults.

    Raises
    ------
    InputError
        When the folder is not one of ours, or is not of this version.
    ToolError
        When the simulator cannot be built.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        engine: str = "cxxrtl",
        channel_bytes: int = 1 << 26,
        model: MemoryModel | None = None,
        waves: str | Path | None = None,
        cache: Cache | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise InputError(f"An engine must be one of {', '.join(ENGINES)}, not {engine!r}")
        if (
            not is_integer(channel_bytes)
            or channel_bytes % PAGE
            or not 0 < channel_bytes <= CHANNEL_BYTES
        ):
            raise InputError(
                f"channel_bytes must be a multiple of {PAGE} up to {CHANNEL_BYTES:,}, "
                f"not {channel_bytes!r}; a buffer has a free page at either end"
            )
        folder = read_folder(path)
        design = folder.design(verilog=engine == "verilator")
        self.kernel: Kernel = folder.kernel
        self.name = f"sim {folder.name}"
        if model is None:
            try:
                model = MemoryModel(
                    clock_hz=folder.clock_hz,
                    n_channels=folder.n_channels,
                    channel_bytes=CHANNEL_BYTES,
                    storage_bytes=channel_bytes,
                )
            except ValueError as error:
                raise InputError(str(error)) from error
        self._channel_bytes = model.storage_bytes
        self._address_bits = model.channel_bits
        self._regions = [Region(model.storage_bytes) for _ in range(self.kernel.n_channels)]
        self.simulation: KernelSimulation = start_kernel(
            design, model, engine, waves=waves, cache=cache
        )
        self._host = self._new_host()
        self._starts: deque[int] = deque()
        self._last_end = 0
        version = self._host.read("version")
        if version != VERSION:
            self.close()
            raise InputError(
                f"{folder.path} must have registers of version {VERSION:#x}, and has {version:#x}; "
                "generate it again"
            )

    @property
    def channel_bytes(self) -> int:
        """Bytes of a memory channel."""
        return self._channel_bytes

    def allocate(self, channel: int, size: int) -> Place:
        """Return the place of new memory."""
        return Place(channel, self._regions[channel].take(size))

    def part(self, handle: Place, offset: int, size: int) -> Place:
        """Return the place of a part."""
        return Place(handle.channel, handle.offset + offset)

    def free(self, handle: Place) -> None:
        """Give memory back."""
        self._regions[handle.channel].give_back(handle.offset)

    def write(self, handle: Place, content: Bytes) -> None:
        """Write at once: time stands still."""
        memory = self.simulation.memory[handle.channel]
        memory[handle.offset : handle.offset + len(content)] = content

    def read(self, handle: Place, size: int) -> Bytes:
        """Read at once: time stands still."""
        memory = self.simulation.memory[handle.channel]
        return memory[handle.offset : handle.offset + size].copy()

    def start(self, arguments: Mapping[str, Any]) -> None:
        """Write the registers, when those of the call before were captured."""
        for _ in range(_CAPTURE_READS):
            if not self._host.read("control") & _START:
                break
        else:
            raise CallError("The kernel did not capture the arguments of a call; reset the device")
        values = {
            name: self._address(value) if isinstance(value, Place) else value
            for name, value in arguments.items()
        }
        self._host.start(values)
        self._starts.append(self.simulation.cycle)

    def finish(self, timeout: float | None) -> Status | None:
        """Simulate until the oldest call is done, or the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        cycles = 256
        while True:
            begun = time.monotonic()
            # The interrupt of the call before may still be there for a cycle.
            if self.simulation.run(cycles) and self._host.read("control") & _DONE:
                break
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return None
            if now - begun < _SLICE_SECONDS:
                cycles *= 2
        begin = max(self._starts.popleft(), self._last_end)
        self._last_end = self.simulation.cycle
        # The interrupt is still there: this takes note of it.
        outcome = self._host.wait(1)
        if outcome.code != Code.OK:
            raise LaunchError.of(outcome.code)
        return Status(outcome.code, self._last_end - begin)

    def reset(self) -> None:
        """Reset the kernel softly; if memory does not let it, reset all."""
        try:
            self._host.reset()
        except (CallError, AccessError):
            self.simulation.reset()
        self._host = self._new_host()
        self._starts.clear()
        self._last_end = 0

    def close(self) -> None:
        """Free the simulation, and complete its waves."""
        self.simulation.close()

    def _new_host(self) -> Host:
        return Host(self.simulation, self.kernel.registers)

    def _address(self, place: Place) -> int:
        return (place.channel << self._address_bits) + place.offset
