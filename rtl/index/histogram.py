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

    After a reset the memory is swept, too, and nothing told: ``busy`` for ``2**bin_bits`` cycles.

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
        Tell, from the next cycle on; what comes with it still counts. Not while ``busy``.
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
        m.submodules.storage = storage = Memory(
            shape=self._sums, depth=1 << self._bin_bits, init=[]
        )
        r_port, w_port = storage.read_port(), storage.write_port()
        i, o = self.i.payload, self.o.payload

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
        # Found out a step ahead; place 1 is the only one behind which the end comes.
        m.d.sync += is_end.eq(sweeps & (place == 1))
        m.d.comb += [
            self.busy.eq(sweeps),
            r_port.addr.eq(Mux(sweeps, place, i.bin)),
            r_port.en.eq(1),
        ]

        # The cycle after.
        swept = Signal()
        adds = Signal()
        is_recent = Signal(reset_less=True)
        at = Signal(self._bin_bits, reset_less=True)
        mass = Signal.like(i.mass, reset_less=True)
        recent = Signal(self._sums, reset_less=True)
        old = Signal(self._sums)
        new = Signal(self._sums)
        m.d.comb += [
            old.eq(Mux(is_recent, recent, r_port.data)),
            w_port.addr.eq(at),
            w_port.en.eq(swept | adds),
            w_port.data.eq(new),
        ]
        with m.If(~swept):
            m.d.comb += [new.count.eq(old.count + 1), new.mass.eq(old.mass + mass)]
        m.d.sync += [
            swept.eq(sweeps),
            adds.eq(self.i.valid & ~sweeps),
            at.eq(r_port.addr),
            mass.eq(i.mass),
            recent.eq(new),
            is_recent.eq(w_port.en & (at == r_port.addr)),
        ]
        is_last = Signal(reset_less=True)
        m.d.sync += is_last.eq(is_end)
        m.d.comb += [
            self.o.valid.eq(swept & is_told),
            o.bin.eq(at),
            o.count.eq(old.count),
            o.mass.eq(old.mass),
            o.last.eq(is_last),
        ]
        return m
