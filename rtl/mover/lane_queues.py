"""Queues of several lanes in one memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index
from ..stream.level import count_level

__all__ = ["LaneQueues"]

_DEPTH_BITS = 2


class LaneQueues(Component):
    """A queue of four items for each of ``n`` lanes, of which one is looked at.

    Latency 1, rate 1; all payloads share one LUT memory, of one item a cycle in and one out.

    Parameters
    ----------
    shape : shape-like
        Shape of the items.
    n : int
        Number of lanes.

    Members
    -------
    i : In(stream)
        ``to``: a lane, ``item``. It is taken when that lane's queue has room.
    lane : In(range(n))
        Whose queue is looked at.
    o : Out(stream)
        Items of that lane, in order. While ``lane`` stays, the rules of streams hold.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, n: int) -> None:
        self._shape, self._n = shape, check_count("Number of lanes", n)
        addressed = data.StructLayout({"to": range(n), "item": shape})
        super().__init__(
            {
                "i": In(stream.Signature(addressed)),
                "lane": In(index(n)),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Keep two pointers and a level for each lane."""
        m = Module()
        n, depth = self._n, 1 << _DEPTH_BITS
        m.submodules.storage = storage = Memory(shape=self._shape, depth=n * depth, init=[])
        write = storage.write_port()
        read = storage.read_port(domain="comb")
        tails = Signal(data.ArrayLayout(_DEPTH_BITS, n))
        heads = Signal(data.ArrayLayout(_DEPTH_BITS, n))
        has_room = Signal(n)
        has_some = Signal(n)
        to = Signal(index(n))
        tail = Signal(_DEPTH_BITS)
        head = Signal(_DEPTH_BITS)
        comes = Signal()
        goes = Signal()
        m.d.comb += [
            to.eq(self.i.payload.to),
            tail.eq(tails[to]),
            head.eq(heads[self.lane]),
            self.i.ready.eq(has_room.bit_select(to, 1)),
            self.o.valid.eq(has_some.bit_select(self.lane, 1)),
            comes.eq(self.i.valid & self.i.ready),
            goes.eq(self.o.valid & self.o.ready),
            write.addr.eq(Cat(tail, to)),
            write.data.eq(self.i.payload.item),
            write.en.eq(comes),
            read.addr.eq(Cat(head, self.lane)),
            self.o.payload.eq(read.data),
        ]
        with m.If(comes):
            m.d.sync += tails[to].eq(tail + 1)
        with m.If(goes):
            m.d.sync += heads[self.lane].eq(head + 1)
        for k in range(n):
            level = count_level(
                m,
                Signal(range(depth + 1), name=f"level_{k}"),
                most=depth,
                comes=comes & (to == k),
                goes=goes & (self.lane == k),
                name=f"lane_{k}_",
            )
            m.d.comb += [has_room[k].eq(level.has_room), has_some[k].eq(level.has_some)]
        return m
