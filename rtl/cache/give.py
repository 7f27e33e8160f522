"""Wanted blocks, one after the other: where they are, or which slot they get."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..lane.job import index
from ..stream import Queue, connect_stream
from .place import check_slots, place_layout
from .scan import mark_layout
from .spare import spare_layout

__all__ = ["SlotGive"]

_DEPTH = 8
"""Room for entries that are on their way when the room is looked at: rate 1."""


class SlotGive(Component):
    """Say of a wanted block a cycle where it is; if it is not there, give it the next spare slot.

    A block comes a cycle after ``gives``, its mark another one later; it is dealt with in the cycle
    after that, and is in the lists a cycle later.

    Parameters
    ----------
    heads, blocks, k : int
        As of :class:`~qkloom.rtl.cache.slots.SlotTable`.

    Members
    -------
    head, is_last : In
        The lists' head, and whether they are the last ones of a layer; steady during a step.
    gives : In(1)
        A block is being read; only with ``has_room`` in this cycle.
    has_room : Out(1)
        Another block may come.
    block : In
        What was read in the cycle before.
    mark : In
        The mark of the block of the cycle before: :func:`~qkloom.rtl.cache.scan.mark_layout`.
    marked, clears : Out
        The block whose mark that is, if there is one: nobody needs it any longer.
    first, take : In, Out(1)
        The next spare slot, :func:`~qkloom.rtl.cache.spare.spare_layout`, and that it is given.
    loaded : Out
        The block that gets it.
    is_empty : Out(1)
        No block is on its way, and the lists have room for their ends.
    ends : In(1)
        The lists end; only with ``is_empty`` in this cycle.
    places, load, evict : Out(stream)
        As of the table.

    Raises
    ------
    TypeError, ValueError
        As of the table.
    """

    def __init__(self, *, heads: int, blocks: int, k: int) -> None:
        check_slots(heads=heads, blocks=blocks, k=k)
        places = stream.Signature(place_layout(heads=heads, blocks=blocks, k=k))
        super().__init__(
            {
                "head": In(index(heads)),
                "is_last": In(1),
                "gives": In(1),
                "has_room": Out(1),
                "block": In(index(blocks)),
                "mark": In(mark_layout(k - 1)),
                "marked": Out(index(blocks)),
                "clears": Out(1),
                "first": In(spare_layout(slots=k - 1, blocks=blocks)),
                "take": Out(1),
                "loaded": Out(index(blocks)),
                "is_empty": Out(1),
                "ends": In(1),
                "places": Out(places),
                "load": Out(places),
                "evict": Out(places),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Delay the block until its mark is there; then choose between both slots."""
        m = Module()
        lists = {}
        for name in ("places", "load", "evict"):
            port = getattr(self, name)
            m.submodules[name] = lists[name] = Queue(shape=port.payload.shape(), depth=_DEPTH)
            connect_stream(m, lists[name].o, wiring.flipped(port))
        places, load, evict = lists.values()

        is_read = Signal()
        is_marked = Signal()
        is_known = Signal()
        block = Signal.like(self.block, reset_less=True)
        found = Signal(reset_less=True)
        slot = Signal(self.mark.slot.shape(), reset_less=True)
        m.d.sync += [
            is_read.eq(self.gives),
            is_marked.eq(is_read),
            is_known.eq(is_marked),
            self.marked.eq(self.block),
            block.eq(self.marked),
            found.eq(self.mark.found),
            slot.eq(self.mark.slot),
            # Four may be on their way. No list has more entries than the one of places.
            self.has_room.eq(
                (places.level <= _DEPTH - 5)
                & (load.level <= _DEPTH - 5)
                & (evict.level <= _DEPTH - 5)
            ),
        ]
        is_given = Signal()
        m.d.comb += [
            self.clears.eq(is_marked),
            self.loaded.eq(block),
            is_given.eq(is_known & ~found),
            self.take.eq(is_given),
            self.is_empty.eq(
                ~(is_read | is_marked | is_known) & places.i.ready & load.i.ready & evict.i.ready
            ),
            places.i.valid.eq(is_known | self.ends),
            load.i.valid.eq(is_given | self.ends),
            evict.i.valid.eq((is_given & self.first.held) | self.ends),
        ]
        for of in lists.values():
            m.d.comb += [of.i.payload.head.eq(self.head), of.i.payload.end.eq(self.ends)]
        with m.If(self.ends):
            m.d.comb += [of.i.payload.last.eq(self.is_last) for of in lists.values()]
        with m.Else():
            m.d.comb += [
                places.i.payload.block.eq(block),
                places.i.payload.slot.eq(Mux(found, slot, self.first.slot)),
                load.i.payload.block.eq(block),
                load.i.payload.slot.eq(self.first.slot),
                evict.i.payload.block.eq(self.first.block),
                evict.i.payload.slot.eq(self.first.slot),
            ]
        return m
