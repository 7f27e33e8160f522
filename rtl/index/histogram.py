"""Histogram: how many fell into each bin, and what they had together."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Histogram"]


class Histogram(Component):
    """Add one a cycle, to whatever bin; then tell all bins, the highest first, and clear them.

    A memory of one synchronous read and one write: what is read in one cycle is written back in the
    next. What has been written only then is not read but kept beside the memory, so that all may
    fall into one bin.

    A sweep is ``busy`` for ``2**bin_bits + 1`` cycles. There is one after a reset, too, which tells
    nothing.

    Parameters
    ----------
    bin_bits : int
        Bits of a bin's number.
    count_width, mass_width : int
        Bits of what a bin counts, and sums up; both wrap.

    Members
    -------
    i : In(stream)
        ``bin`` and ``mass`` of one; not while ``busy``.
    sweep : In(1)
        Tell what came before this cycle; neither with one, nor while ``busy``.
    busy : Out(1)
        The memory is being swept.
    o : Out(stream)
        ``bin``, ``count``, ``mass`` of each bin, and ``last`` with bin 0; one a cycle, always
        taken. The first comes two cycles after ``sweep``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``bin_bits`` above 16.
    """

    def __init__(self, *, bin_bits: int, count_width: int, mass_width: int) -> None:
        self._bin_bits = check_count("Bits of a bin", bin_bits, most=16)
        check_count("Count width", count_width)
        check_count("Mass width", mass_width)
        self._sums = data.StructLayout({"count": count_width, "mass": mass_width})
        items = data.StructLayout({"bin": bin_bits, "mass": mass_width})
        told = data.StructLayout(
            {"bin": bin_bits, "count": count_width, "mass": mass_width, "last": 1}
        )
        super().__init__(
            {
                "i": In(stream.Signature(items, always_ready=True)),
                "sweep": In(1),
                "busy": Out(1),
                "o": Out(stream.Signature(told, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read, a cycle later write: a sum, or 0."""
        m = Module()
        depth = 1 << self._bin_bits
        m.submodules.storage = storage = Memory(shape=self._sums, depth=depth, init=[])
        r_port, w_port = storage.read_port(), storage.write_port()
        i, o = self.i.payload, self.o.payload

        # The next bin to be swept; 0 is the end, found out a step ahead.
        sweeps = Signal(init=1)
        is_told = Signal()
        place = Signal(self._bin_bits, init=-1)
        is_end = Signal()
        with m.If(self.sweep):
            m.d.sync += [sweeps.eq(1), is_told.eq(1)]
        with m.Elif(is_end):
            m.d.sync += sweeps.eq(0)
        with m.If(sweeps):
            m.d.sync += place.eq(place - 1)
        m.d.sync += is_end.eq(sweeps & (place == 1))

        # A cycle later.
        swept = Signal()
        adds = Signal()
        is_recent = Signal(reset_less=True)
        is_last = Signal(reset_less=True)
        at = Signal(self._bin_bits, reset_less=True)
        mass = Signal.like(i.mass, reset_less=True)
        recent = Signal(self._sums, reset_less=True)
        old = Signal(self._sums)
        new = Signal(self._sums)
        m.d.comb += [
            self.busy.eq(sweeps | swept),
            r_port.addr.eq(Mux(sweeps, place, i.bin)),
            r_port.en.eq(1),
            old.eq(Mux(is_recent, recent, r_port.data)),
            new.count.eq(old.count + 1),
            new.mass.eq(old.mass + mass),
            w_port.addr.eq(at),
            w_port.en.eq(swept | adds),
            w_port.data.eq(Mux(swept, 0, new)),
            self.o.valid.eq(swept & is_told),
            o.bin.eq(at),
            o.count.eq(r_port.data.count),
            o.mass.eq(r_port.data.mass),
            o.last.eq(is_last),
        ]
        m.d.sync += [
            swept.eq(sweeps),
            is_last.eq(is_end),
            adds.eq(self.i.valid),
            at.eq(r_port.addr),
            mass.eq(i.mass),
            recent.eq(new),
            is_recent.eq(adds & (at == i.bin)),
        ]
        return m
