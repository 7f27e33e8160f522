"""Gather: many streams into one, through merges of few."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .connect import connect_stream
from .merge import Merge
from .wide import WideSlice

__all__ = ["Gather"]

_WAYS = 4
"""Inputs of a merge; a power of two, so that numbers of inputs are put together by wires."""


class Gather(Component):
    """Merge ``n`` streams into one as :class:`~qkloom.rtl.stream.merge.Merge` does, however many.

    ::

        i[0] to i[3]  --> merge --> register slice --+
        i[4] to i[7]  --> merge --> register slice --+--> merge --> o
                                    ...            --+

    More than four inputs meet in groups of four, registers behind each: so no path grows with the
    number of inputs. Every merge is fair: an input waits for at most one item of every other one in
    its group, and each of these for one of every other group. Latency as of a merge, and 1 for each
    level of groups; rate 1.

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
        self._shape, self._n = shape, check_count("Number of inputs", n)
        tagged = data.StructLayout({"index": range(n), "item": shape})
        super().__init__(
            {"i": In(stream.Signature(shape)).array(n), "o": Out(stream.Signature(tagged))}
        )

    def elaborate(self, platform: Any) -> Module:
        """Merge groups, and then what comes of them in the same way."""
        m = Module()
        n = self._n
        if n <= _WAYS:
            m.submodules.merge = merge = Merge(shape=self._shape, n=n)
            for port, i in zip(self.i, merge.i, strict=True):
                connect_stream(m, wiring.flipped(port), i)
            connect_stream(m, merge.o, wiring.flipped(self.o))
            return m

        firsts = range(0, n, _WAYS)
        tagged = data.StructLayout({"index": range(_WAYS), "item": self._shape})
        m.submodules.groups = groups = Gather(shape=tagged, n=len(firsts))
        for number, first in enumerate(firsts):
            ports = self.i[first : first + _WAYS]
            m.submodules[f"group_{number}"] = group = Merge(shape=self._shape, n=len(ports))
            m.submodules[f"slice_{number}"] = late = WideSlice(shape=tagged)
            for port, i in zip(ports, group.i, strict=True):
                connect_stream(m, wiring.flipped(port), i)
            m.d.comb += [
                late.i.valid.eq(group.o.valid),
                late.i.payload.index.eq(group.o.payload.index),
                late.i.payload.item.eq(group.o.payload.item),
                group.o.ready.eq(late.i.ready),
            ]
            connect_stream(m, late.o, groups.i[number])
        inner, o = groups.o.payload, self.o.payload
        m.d.comb += [
            self.o.valid.eq(groups.o.valid),
            o.index.eq(Cat(inner.item.index, inner.index)),
            o.item.eq(inner.item.item),
            groups.o.ready.eq(self.o.ready),
        ]
        return m
