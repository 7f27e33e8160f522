"""Fork and multicast: one stream into several, each item to all of them or to those it names."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Fork", "Multicast"]

_GROUP = 5
"""Destinations that are looked at together."""


class Fork(Component):
    """Give every item to each of ``n`` streams, exactly once.

    A destination that is ready takes the item at once and does not wait for a slower one; the next
    item comes when all have taken this one.

    Latency 0, rate 1. Nothing is cut: ``o[k].valid`` and ``o[k].payload`` come from ``i``, and
    ``i.ready`` from every ``o[k].ready``. It costs ``n`` registers of one bit.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    n : int
        Number of destinations, at least 1.

    Members
    -------
    i : stream, in
        Items in.
    o : n streams, out
        All items, in order, in each stream.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, n: int) -> None:
        self._n = check_count("Number of destinations", n)
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)).array(n)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Offer each item to all destinations."""
        m = Module()
        everyone = (1 << self._n) - 1
        _deliver(m, self.i, Value.cast(everyone), self.i.payload, self.o)
        return m


class Multicast(Component):
    """Give every item to those of ``n`` streams that it names, to each exactly once.

    Destinations do not wait for each other, as in :class:`Fork`. An item for nobody is taken and
    dropped.

    Latency 0, rate 1. Nothing is cut: ``o[k].valid`` and ``o[k].payload`` come from ``i``, and
    ``i.ready`` from ``i.payload.to`` and every ``o[k].ready``. It costs ``n`` registers of one bit.

    Parameters
    ----------
    shape : shape-like
        Shape of the items.
    n : int
        Number of destinations, at least 1.

    Members
    -------
    i : stream of struct, in
        ``to``: a bit per destination; ``item``: what they get.
    o : n streams, out
        Each item in the streams that it was for, in order.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, n: int) -> None:
        check_count("Number of destinations", n)
        addressed = data.StructLayout({"to": n, "item": shape})
        super().__init__(
            {"i": In(stream.Signature(addressed)), "o": Out(stream.Signature(shape)).array(n)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Offer each item to the destinations that it names."""
        m = Module()
        _deliver(m, self.i, self.i.payload.to, self.i.payload.item, self.o)
        return m


def _deliver(m: Module, i: Any, to: Value, item: Any, o: Sequence[Any]) -> None:
    """Offer ``item`` to the streams of ``o`` that ``to`` names, until all of them have taken it."""
    missing = Signal(-(-len(o) // _GROUP))
    for number in range(len(missing)):
        outs = o[number * _GROUP : (number + 1) * _GROUP]
        m.submodules[f"group_{number}"] = group = Delivery(n=len(outs))
        m.d.comb += [
            group.valid.eq(i.valid),
            group.to.eq(to[number * _GROUP : (number + 1) * _GROUP]),
            group.ready.eq(Cat(out.ready for out in outs)),
            group.done.eq(i.ready),
            missing[number].eq(group.missing),
        ]
        for k, out in enumerate(outs):
            m.d.comb += [out.payload.eq(item), out.valid.eq(group.offered[k])]
    m.d.comb += i.ready.eq(missing == 0)


class Delivery(Component):
    """Who has taken an item already, among a few: a module of its own, so that paths stay short.

    Parameters
    ----------
    n : int
        Destinations.

    Members
    -------
    valid, to : In
        Whether there is an item, and a bit for each destination that it is for.
    ready : In(n)
        Whether each destination is.
    done : In(1)
        Everybody has taken the item, here and elsewhere.
    offered : Out(n)
        Whether each destination is offered the item.
    missing : Out(1)
        Somebody will not have taken it by the end of the cycle.
    """

    def __init__(self, *, n: int) -> None:
        super().__init__(
            {
                "valid": In(1),
                "to": In(n),
                "ready": In(n),
                "done": In(1),
                "offered": Out(n),
                "missing": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Remember who took the item, until it is gone."""
        m = Module()
        taken = Signal.like(self.to)
        left = Signal.like(self.to)
        m.d.comb += [
            left.eq(self.to & ~taken),
            self.offered.eq(left & self.valid.replicate(len(left))),
            self.missing.eq((left & ~self.ready).any()),
        ]
        with m.If(self.valid):
            m.d.sync += taken.eq(Mux(self.done, 0, taken | self.ready))
        return m
