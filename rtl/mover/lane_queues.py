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

    Latency 4, rate an item in three cycles, in and out: for what is rare. ``o.valid``, ``i.ready``
    and the choice of a lane are registers. All payloads share one LUT memory.

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
        Items of the lane that ``lane`` was a cycle before, in order. While ``lane`` stays, the
        rules of streams hold.

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

        # Whoever comes has waited a cycle for the answer whether there is room; levels are told a
        # cycle later, and nobody else comes until they know.
        to = Signal(index(n))
        here = Signal(n)
        comes = Signal()
        has_come = Signal()
        came = Signal(n)
        m.d.comb += [
            to.eq(self.i.payload.to),
            here.eq(Cat(to == k for k in range(n))),
            self.i.ready.eq(comes),
            write.addr.eq(Cat(tails[to], to)),
            write.data.eq(self.i.payload.item),
            write.en.eq(comes),
        ]
        m.d.sync += [
            comes.eq(self.i.valid & ~comes & ~has_come & (has_room & here).any()),
            has_come.eq(comes),
            came.eq(here & comes.replicate(n)),
        ]

        # Likewise whoever goes.
        of = Signal(index(n))  # whose item is on offer
        head = Signal(_DEPTH_BITS)
        has_item = Signal()
        goes = Signal()
        has_gone = Signal()
        went = Signal(n)
        m.d.comb += [
            self.o.valid.eq(has_item),
            goes.eq(has_item & self.o.ready),
            read.addr.eq(Cat(head, of)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            of.eq(self.lane),
            head.eq(heads[self.lane]),
            has_item.eq(has_some.bit_select(self.lane, 1) & ~goes & ~has_gone),
            has_gone.eq(goes),
            went.eq(Cat(goes & (of == k) for k in range(n))),
        ]
        for k in range(n):
            with m.If(comes & here[k]):
                m.d.sync += tails[k].eq(tails[k] + 1)
            with m.If(goes & (of == k)):
                m.d.sync += heads[k].eq(heads[k] + 1)
            level = count_level(
                m,
                Signal(range(depth + 1), name=f"level_{k}"),
                most=depth,
                comes=came[k],
                goes=went[k],
                name=f"lane_{k}_",
            )
            m.d.comb += [has_room[k].eq(level.has_room), has_some[k].eq(level.has_some)]
        return m
