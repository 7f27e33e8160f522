"""Merge: several streams into one, in turn."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Merge"]


class Merge(Component):
    """Merge ``n`` streams into one, by fair round robin, and say where each item is from.

    An input that has an item waits for at most one item of every other input. An item offered at
    ``o`` stays there until it is taken, whoever else becomes valid.

    Latency 0, rate 1. Nothing is cut: ``o.valid`` and ``o.payload`` come from all inputs, and each
    ``i[k].ready`` from ``o.ready`` and the valid of every input. It costs ``n + 1`` registers of
    one bit and a multiplexer.

    Parameters
    ----------
    shape : shape-like
        Shape of the items.
    n : int
        Number of inputs, at least 1.

    Members
    -------
    i : n streams, in
        Items in.
    o : stream of struct, out
        ``index``: which input, ``range(n)``; ``item``: its item. Items of one input stay in order.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, n: int) -> None:
        self._n = check_count("Number of inputs", n)
        tagged = data.StructLayout({"index": range(n), "item": shape})
        super().__init__(
            {"i": In(stream.Signature(shape)).array(n), "o": Out(stream.Signature(tagged))}
        )

    def elaborate(self, platform: Any) -> Module:
        """Choose the next valid input above the last one, cyclically."""
        m = Module()
        n, o = self._n, self.o
        valid = Signal(n)
        later = Signal(n)
        candidates = Signal(n)
        chosen = Signal(n)  # at most one bit set
        last = Signal(n)  # at most one bit set: the choice before
        held = Signal()

        above = ~(last | (last - 1)[:n])
        m.d.comb += [
            valid.eq(Cat(i.valid for i in self.i)),
            later.eq(valid & above),
            candidates.eq(Mux(later.any(), later, valid)),
            # x & -x is the lowest bit set. A choice that is not taken yet stands.
            chosen.eq(Mux(held, last, (candidates & -candidates)[:n])),
            o.valid.eq(valid.any()),
        ]
        m.d.sync += held.eq(o.valid & ~o.ready)
        with m.If(o.valid):
            m.d.sync += last.eq(chosen)

        # With one bit set in `chosen`, AND and OR select; a Switch would be a chain of comparisons.
        terms = []
        for k, i in enumerate(self.i):
            tagged = Cat(Const(k, range(n)), i.payload)
            terms.append(tagged & chosen[k].replicate(len(tagged)))
            m.d.comb += i.ready.eq(o.ready & chosen[k])
        m.d.comb += o.payload.as_value().eq(reduce(or_, terms))
        return m
