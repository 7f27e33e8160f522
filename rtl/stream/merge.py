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

    Whose turn it is, is decided a cycle ahead, from those that wait then: so the decision is not in
    the items' way, and still one item follows another. Latency 0 for an input whose turn it is
    already, else 1; rate 1. Nothing is cut: ``o.valid`` and ``o.payload`` come from all inputs, and
    each ``i[k].ready`` from ``o.ready``. It costs ``2 n`` registers of one bit and
    a multiplexer.

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
        chosen = Signal(n, init=1)  # one bit set
        above = Signal(n, init=-2 % (1 << n))  # the bits above it
        later = Signal(n)
        m.d.comb += [
            valid.eq(Cat(i.valid for i in self.i)),
            later.eq(valid & above),
            o.valid.eq((valid & chosen).any()),
        ]

        # Of x, x & -x is the lowest bit set, and x ^ -x are those above it.
        minus_later = Signal(n)
        minus_valid = Signal(n)
        wraps = Signal()
        m.d.comb += [minus_later.eq(-later), minus_valid.eq(-valid), wraps.eq(~later.any())]
        with m.If((o.ready | ~o.valid) & valid.any()):
            m.d.sync += [
                chosen.eq(Mux(wraps, valid & minus_valid, later & minus_later)),
                above.eq(Mux(wraps, valid ^ minus_valid, later ^ minus_later)),
            ]

        # With one bit set in `chosen`, AND and OR select; a Switch would be a chain of comparisons.
        terms = []
        for k, i in enumerate(self.i):
            tagged = Cat(Const(k, range(n)), i.payload)
            terms.append(tagged & chosen[k].replicate(len(tagged)))
            m.d.comb += i.ready.eq(o.ready & chosen[k])
        m.d.comb += o.payload.as_value().eq(reduce(or_, terms))
        return m
