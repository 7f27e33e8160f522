"""What two lists differ in: blocks to load, and blocks to evict."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import Queue, connect_stream
from .list import list_layout

__all__ = ["ListDifference"]


class ListDifference(Component):
    """Compare two ascending lists: what only the first has, and what only the second has.

    An entry of each list a cycle at most; the lower one of two different entries goes first. From
    an entry to the difference 2 cycles. Both differences end together. Neither is kept: who takes
    them one after the other needs room for the other one.

    Parameters
    ----------
    blocks : int
        Most blocks.

    Members
    -------
    chosen, resident : In(stream)
        Lists, each in ascending order without duplicates:
        :func:`~qkloom.rtl.index.list.list_layout`.
    load : Out(stream)
        The list of what is chosen and not resident, ascending.
    evict : Out(stream)
        The list of what is resident and not chosen, ascending.

    Raises
    ------
    TypeError, ValueError
        When ``blocks`` is not a positive integer.
    """

    def __init__(self, *, blocks: int) -> None:
        check_count("Blocks", blocks)
        lists = stream.Signature(list_layout(blocks))
        super().__init__(
            {"chosen": In(lists), "resident": In(lists), "load": Out(lists), "evict": Out(lists)}
        )

    def elaborate(self, platform: object) -> Module:
        """Merge: the lower of both entries is a difference, equal ones are none."""
        m = Module()
        ends = {}
        for name in ("chosen", "resident", "load", "evict"):
            shape = self.chosen.payload.shape()
            m.submodules[name] = ends[name] = Queue(shape=shape, depth=2)
        chosen, resident, load, evict = ends.values()
        connect_stream(m, wiring.flipped(self.chosen), chosen.i)
        connect_stream(m, wiring.flipped(self.resident), resident.i)
        connect_stream(m, load.o, wiring.flipped(self.load))
        connect_stream(m, evict.o, wiring.flipped(self.evict))

        a, b = chosen.o.payload, resident.o.payload
        both = Signal()
        loads = Signal()
        evicts = Signal()
        equal = Signal()
        finish = Signal()
        m.d.comb += [
            both.eq(chosen.o.valid & resident.o.valid),
            loads.eq(~a.end & (b.end | (a.block < b.block))),
            evicts.eq(~b.end & (a.end | (b.block < a.block))),
            finish.eq(a.end & b.end),
            equal.eq(~loads & ~evicts & ~finish),
        ]
        # Both ends go at once, when there is room for both.
        ready = Signal()
        ends_now = Signal()
        m.d.comb += [
            ready.eq(load.i.ready & evict.i.ready),
            ends_now.eq(both & finish & ready),
            load.i.valid.eq((both & loads) | ends_now),
            evict.i.valid.eq((both & evicts) | ends_now),
            load.i.payload.end.eq(a.end),
            evict.i.payload.end.eq(b.end),
            load.i.payload.block.eq(Mux(a.end, 0, a.block)),
            evict.i.payload.block.eq(Mux(b.end, 0, b.block)),
            chosen.o.ready.eq(both & (equal | (loads & load.i.ready) | (finish & ready))),
            resident.o.ready.eq(both & (equal | (evicts & evict.i.ready) | (finish & ready))),
        ]
        return m
