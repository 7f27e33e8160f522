"""The spacer: a stream whose passes keep a distance."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Spacer"]


class Spacer(Component):
    """Let the first rows of two passes leave ``distance`` cycles apart at least.

    What leaves comes straight from registers, its valid too: whether it is time is decided a cycle
    ahead. Latency 1, rate 1; ``i.ready`` comes from ``o.ready``.

    Parameters
    ----------
    shape : StructLayout
        Shape of the rows; the first one of a pass has ``new_tile`` set.
    distance : int
        Cycles, 2 or more.

    Members
    -------
    i : In(stream)
        Rows in.
    o : Out(stream)
        The same rows in the same order.

    Raises
    ------
    TypeError, ValueError
        When the distance is not an integer of at least 2.
    """

    def __init__(self, *, shape: Any, distance: int) -> None:
        if check_count("Distance", distance) < 2:
            raise ValueError(f"Distance must be at least 2 cycles, not {distance}")
        self._shape, self._distance = shape, distance
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        """Hold one row; offer it when it may leave in the next cycle."""
        m = Module()
        i, o = self.i, self.o
        row = Signal(self._shape, reset_less=True)
        occupied = Signal()
        offered = Signal()
        moves = Signal()
        starts = Signal()
        rest = Signal(self._distance - 1)  # bit n: it lasts for n more cycles, at least
        m.d.comb += [
            o.payload.eq(row),
            o.valid.eq(offered),
            moves.eq(~occupied | (offered & o.ready)),
            i.ready.eq(moves),
            starts.eq(offered & o.ready & row.new_tile),
        ]
        next_is_there = Signal()
        next_is_first = Signal()
        m.d.comb += [
            next_is_there.eq(Mux(moves, i.valid, 1)),
            next_is_first.eq(Mux(moves, i.payload.new_tile, row.new_tile)),
        ]
        with m.If(moves):
            m.d.sync += [row.eq(i.payload), occupied.eq(i.valid)]
        m.d.sync += [
            rest.eq(Mux(starts, -1, rest >> 1)),
            offered.eq(next_is_there & ~(next_is_first & (starts | rest[1:2].any()))),
        ]
        return m
