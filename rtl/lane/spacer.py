"""The spacer: a stream whose passes keep a distance."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Spacer"]

_PART = 96
"""Bits of a row that one gate moves: no gate drives more than 128 pins."""


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
        occupied = Signal()
        offered = Signal()
        moves = Signal()
        starts = Signal()
        is_first = Signal(reset_less=True)
        rest = Signal(self._distance - 1)  # bit n: it lasts for n more cycles, at least
        m.d.comb += [
            o.valid.eq(offered),
            i.ready.eq(moves),
            starts.eq(offered & o.ready & is_first),
        ]
        next_is_there = Signal()
        next_is_first = Signal()
        m.d.comb += [
            next_is_there.eq(Mux(moves, i.valid, 1)),
            next_is_first.eq(Mux(moves, i.payload.new_tile, is_first)),
        ]
        with m.If(moves):
            m.d.sync += [is_first.eq(i.payload.new_tile), occupied.eq(i.valid)]
        m.d.sync += [
            rest.eq(Mux(starts, -1, rest >> 1)),
            offered.eq(next_is_there & ~(next_is_first & (starts | rest[1:2].any()))),
        ]

        # A wide row is in parts, each of which finds out for itself when to move.
        came, leaves = i.payload.as_value(), o.payload.as_value()
        for first in range(0, len(came), _PART):
            bits = slice(first, min(first + _PART, len(came)))
            part = SpacerPart(width=bits.stop - first)
            m.submodules[f"part_{first}"] = part
            if not first:
                m.d.comb += moves.eq(part.moves)
            m.d.comb += [
                part.occupied.eq(occupied),
                part.offered.eq(offered),
                part.taken.eq(o.ready),
                part.i.eq(came[bits]),
                leaves[bits].eq(part.o),
            ]
        return m


class SpacerPart(Component):
    """A part of the row that waits.

    Parameters
    ----------
    width : int
        Bits.

    Members
    -------
    occupied, offered, taken : In(1)
        Whether a row is there, may leave, and is taken if so.
    i : In(width)
        What comes next.
    o : Out(width)
        What waits.
    moves : Out(1)
        Whether what comes will wait in the next cycle: one LUT.
    """

    def __init__(self, *, width: int) -> None:
        flags = {"occupied": In(1), "offered": In(1), "taken": In(1), "moves": Out(1)}
        super().__init__({**flags, "i": In(width), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Take what comes when nothing stays."""
        m = Module()
        kept = Signal.like(self.o, reset_less=True)
        m.d.comb += self.moves.eq(~self.occupied | (self.offered & self.taken))
        with m.If(self.moves):
            m.d.sync += kept.eq(self.i)
        m.d.comb += self.o.eq(kept)
        return m
