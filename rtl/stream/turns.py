"""Turns: streams whose groups of items follow one another in an order that is told."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .connect import connect_stream
from .queue import Queue
from .wide import WideSlice

__all__ = ["Turns"]


class Turns(Component):
    """Pass on whole groups of items, each from the input whose turn it is.

    Parameters
    ----------
    shape : StructLayout
        Of items; ``last`` ends a group.
    n : int
        Number of inputs, at least 1.
    depth : int
        Turns that may be told ahead.

    Members
    -------
    turn : In(stream)
        Which input is next.
    i : n streams, in
        Items in.
    o : stream, out
        The same items. Registered; latency 1, rate 1, and a cycle between groups.

    Raises
    ------
    TypeError, ValueError
        When ``n`` or ``depth`` is not a positive integer, or items have no ``last``.
    """

    def __init__(self, *, shape: Any, n: int, depth: int) -> None:
        check_count("Number of inputs", n)
        check_count("Depth", depth)
        if not isinstance(shape, data.StructLayout) or "last" not in shape.members:
            raise TypeError(f"Items must have a field last, not be {shape!r}")
        self._shape, self._n, self._depth = shape, n, depth
        super().__init__(
            {
                "turn": In(stream.Signature(range(max(n, 2)))),
                "i": In(stream.Signature(shape)).array(n),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Keep a bit for each input: whose turn it is."""
        m = Module()
        m.submodules.turns = turns = Queue(shape=self.turn.payload.shape(), depth=self._depth)
        m.submodules.slice = out = WideSlice(shape=self._shape)
        connect_stream(m, wiring.flipped(self.turn), turns.i)
        connect_stream(m, out.o, wiring.flipped(self.o))
        mine = Signal(self._n)
        ends = Signal()
        m.d.comb += [
            turns.o.ready.eq(~mine.any()),
            ends.eq(out.i.valid & out.i.ready & out.i.payload.last),
        ]
        with m.If(turns.o.valid & turns.o.ready):
            m.d.sync += mine.eq(1 << turns.o.payload)
        for number, i in enumerate(self.i):
            with m.If(mine[number]):
                m.d.comb += [
                    out.i.valid.eq(i.valid),
                    out.i.payload.eq(i.payload),
                    i.ready.eq(out.i.ready),
                ]
        with m.If(ends):
            m.d.sync += mine.eq(0)
        return m
