"""Fork and multicast: one stream into several, each item to all of them or to those it names."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Fork", "Multicast"]


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
    """Offer ``item`` to the streams of ``o`` that ``to`` names, and remember who took it."""
    taken = Signal(len(o))
    missing = Signal(len(o))
    m.d.comb += missing.eq(to & ~taken & ~Cat(out.ready for out in o))
    for k, out in enumerate(o):
        m.d.comb += [out.payload.eq(item), out.valid.eq(i.valid & to[k] & ~taken[k])]
    m.d.comb += i.ready.eq(missing == 0)
    with m.If(i.valid):
        # After the last destination the item is gone, and nobody has taken the next one.
        m.d.sync += taken.eq(0)
        with m.If(missing != 0):
            m.d.sync += taken.eq(~missing)
