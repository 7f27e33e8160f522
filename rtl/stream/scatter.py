"""Scatter: one stream to many, through routes of few."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .connect import connect_stream
from .route import Route
from .wide import WideSlice

__all__ = ["Scatter"]

_WAYS = 16
"""Outputs of a route; a power of two, so that numbers of outputs are cut by wires."""


class Scatter(Component):
    """Give every item to the one of ``n`` streams that it names, however many they are.

    ::

                    +--> register slice --> route --> o[0] to o[15]
        i --> route +--> register slice --> route --> o[16] to o[31]
                    +--> ...

    More than sixteen streams are reached in groups of sixteen, registers before each: so no path
    grows with their number, and items for different groups may overtake each other. Up to sixteen
    it is a :class:`~qkloom.rtl.stream.route.Route`: latency 0, 1 for each level of groups; rate 1.

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
        self._shape, self._n = shape, check_count("Number of destinations", n)
        addressed = data.StructLayout({"to": range(n), "item": shape})
        super().__init__(
            {"i": In(stream.Signature(addressed)), "o": Out(stream.Signature(shape)).array(n)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Route to groups, and in each of them."""
        m = Module()
        n = self._n
        if n <= _WAYS:
            m.submodules.route = route = Route(shape=self._shape, n=n)
            connect_stream(m, wiring.flipped(self.i), route.i)
            for o, port in zip(route.o, self.o, strict=True):
                connect_stream(m, o, wiring.flipped(port))
            return m

        firsts = range(0, n, _WAYS)
        within = data.StructLayout({"to": range(_WAYS), "item": self._shape})
        m.submodules.groups = groups = Scatter(shape=within, n=len(firsts))
        i, bits = self.i.payload, (_WAYS - 1).bit_length()
        m.d.comb += [
            groups.i.valid.eq(self.i.valid),
            groups.i.payload.to.eq(i.to[bits:]),
            groups.i.payload.item.to.eq(i.to[:bits]),
            groups.i.payload.item.item.eq(i.item),
            self.i.ready.eq(groups.i.ready),
        ]
        for number, first in enumerate(firsts):
            ports = self.o[first : first + _WAYS]
            m.submodules[f"slice_{number}"] = early = WideSlice(shape=within)
            m.submodules[f"group_{number}"] = group = Route(shape=self._shape, n=len(ports))
            connect_stream(m, groups.o[number], early.i)
            m.d.comb += [
                group.i.valid.eq(early.o.valid),
                group.i.payload.to.eq(early.o.payload.to),
                group.i.payload.item.eq(early.o.payload.item),
                early.o.ready.eq(group.i.ready),
            ]
            for o, port in zip(group.o, ports, strict=True):
                connect_stream(m, o, wiring.flipped(port))
        return m
