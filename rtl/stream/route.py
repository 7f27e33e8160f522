"""Route: one stream into several, each item to the one it names."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Route"]


class Route(Component):
    """Give every item to the one of ``n`` streams that it names.

    Latency 0, rate 1, no registers. Nothing is cut: ``o[k].valid`` and ``o[k].payload`` come from
    ``i``, and ``i.ready`` from ``i.payload.to`` and every ``o[k].ready``. An item for a stream that
    does not exist is never taken.

    Parameters
    ----------
    shape : shape-like
        Shape of the items.
    n : int
        Number of destinations, at least 1.

    Members
    -------
    i : stream of struct, in
        ``to``: the number of the destination, ``range(n)``; ``item``: what it gets.
    o : n streams, out
        Each item in the stream that it was for, in order.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, n: int) -> None:
        check_count("Number of destinations", n)
        addressed = data.StructLayout({"to": range(n), "item": shape})
        super().__init__(
            {"i": In(stream.Signature(addressed)), "o": Out(stream.Signature(shape)).array(n)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect the handshake of the destination that the item names."""
        m = Module()
        i = self.i
        for k, out in enumerate(self.o):
            m.d.comb += out.payload.eq(i.payload.item)
            with m.If(i.payload.to == k):
                m.d.comb += [out.valid.eq(i.valid), i.ready.eq(out.ready)]
        return m
