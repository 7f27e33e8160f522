"""Register slices on all channels of a bus."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream.connect import connect_stream
from ..stream.slice import RegisterSlice
from .signature import AXI4, AXI4Lite, AXI4Read, AXI4Write

__all__ = ["AXISlice"]


class AXISlice(Component):
    """Registers on the way of a bus, for instance from one die to another.

    Latency, rate and cost of each channel are those of a
    :class:`~qkloom.rtl.stream.slice.RegisterSlice`.

    Parameters
    ----------
    bus : AXI4, AXI4Read, AXI4Write or AXI4Lite
        What passes.
    mode : str
        Of the register slices; ``full`` cuts all paths and keeps one beat a cycle.

    Members
    -------
    i : In(bus)
        Where the manager is.
    o : Out(bus)
        Where the subordinate is.

    Raises
    ------
    TypeError, ValueError
        When ``bus`` is not one of these, or ``mode`` no mode of a register slice.
    """

    def __init__(self, *, bus: AXI4 | AXI4Read | AXI4Write | AXI4Lite, mode: str = "full") -> None:
        if not isinstance(bus, (AXI4, AXI4Read, AXI4Write, AXI4Lite)):
            raise TypeError(f"Only an AXI bus can be sliced, not {bus!r}")
        if mode not in RegisterSlice.modes:
            raise ValueError(f"Mode must be one of {', '.join(RegisterSlice.modes)}, not {mode!r}")
        self._bus, self._mode = bus, mode
        super().__init__({"i": In(bus), "o": Out(bus)})

    def elaborate(self, platform: object) -> Module:
        """Slice each channel the way it goes."""
        m = Module()
        for name, member in self._bus.members.items():
            inner = RegisterSlice(shape=member.signature.members["payload"].shape, mode=self._mode)
            m.submodules[name] = inner
            ends = [getattr(self.i, name), getattr(self.o, name)]
            src, dst = ends if member.flow == Out else ends[::-1]
            connect_stream(m, wiring.flipped(src), inner.i)
            connect_stream(m, inner.o, wiring.flipped(dst))
        return m
