"""Slots for decode: which wanted KV blocks are there, and where the others go."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..index.list import list_layout
from ..lane.job import index
from ..stream import Queue, connect_stream
from .give import SlotGive
from .place import check_slots, place_layout
from .scan import SlotScan, mark_layout, word_layout
from .spare import SpareSlots
from .step import step_layout, step_result_layout
from .wanted import FAULTS, WantedCheck

__all__ = ["SlotTable"]


class SlotTable(Component):
    """Keep track of the KV blocks of each head in fast memory, and say what to load and evict.

    SparDA, runtime in decode: each KV head of each layer has ``k`` slots. The last one holds the
    block that grows, the tail; it is nobody else's. At a step, blocks that are wanted and there
    stay where they are (hits). Each of the others (misses), in the order of the list, gets the next
    slot that is free, or then the next slot whose block is not wanted, lowest slot first. Nothing
    else changes: a block that nobody wants stays until its slot is needed.

    ::

        wanted --> check --> list (k) ----------------------------> give --+--> places
                     |         ^                                   ^ |  |  +--> load
                     v         | marks of blocks: wanted, found, slot|  |  +--> evict
        step ----> slots (heads x (k - 1)) --> scan --> spare slots -+  |
                     ^                                                  |
                     +--------------------------------------------------+

    A decode step asks for one head after the other, a layer ahead of attention (the Forecast unit's
    ``chosen`` is ``wanted``; its own difference is not needed then, and its list of resident blocks
    is empty). ``load`` goes to :class:`~qkloom.rtl.cache.prefetch.LoadOrder`. ``places`` tells
    attention of the layer where all the blocks are that it goes through, in ascending order, the
    tail last if the list has it; it may begin when the loads have arrived. Blocks that are loaded
    overwrite blocks that memory has, too: ``evict`` is for whoever keeps books, and no data move.

    The slots of a step are overwritten while attention of the layer before runs, which reads slots
    of other heads. So a head's next step may come when its attention is over.

    A step takes ``2 n + k + 12`` cycles with ``n`` blocks that the list has and gets, the tail
    included, 3 less if there is none, and a cycle more for each item that is left out: 300 cycles
    with all of 96 slots. One step at a time; its result comes before its lists. Residency is
    neither kept as a mask nor searched for: marks of all blocks are made from the list, and
    compared with the slots, a slot a cycle.

    Memories: slots, ``heads (k - 1)`` words of a block's number and a bit: 72,960 bits for 32
    layers of 2 KV heads with 96 slots and 2,048 blocks. Marks, ``blocks`` words of a slot's number
    and 2 bits (18,432), the list (``k`` block numbers) and spare slots (``k - 1`` words) are there
    once. After a reset all slots are freed, which takes a cycle for each of them. Marks need no
    reset: that of a block counts once the block was in a list, which writes it.

    Parameters
    ----------
    heads : int
        KV heads, of all layers, and of all sequences.
    blocks : int
        Most blocks of a sequence.
    k : int
        Slots of a head, the tail's included; at least 2.

    Members
    -------
    step : In(stream)
        What the next list is for: :func:`~qkloom.rtl.cache.step.step_layout`.
    wanted : In(stream)
        Blocks, ascending, at most ``k - 1`` besides the tail:
        :func:`~qkloom.rtl.index.list.list_layout`. What else comes is left out, and flagged.
    result : Out(stream)
        :func:`~qkloom.rtl.cache.step.step_result_layout`.
    places : Out(stream)
        Where the wanted blocks are, ascending: :func:`~qkloom.rtl.cache.place.place_layout`.
    load : Out(stream)
        Those of them that have to be loaded first, likewise.
    evict : Out(stream)
        Blocks that are in these slots no longer, in the order of the loads that take them.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``k`` is 1.
    """

    def __init__(self, *, heads: int, blocks: int, k: int) -> None:
        sizes = {"heads": heads, "blocks": blocks, "k": k}
        check_slots(**sizes)
        self._heads, self._blocks, self._k = heads, blocks, k
        places = stream.Signature(place_layout(**sizes))
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(heads=heads, blocks=blocks))),
                "wanted": In(stream.Signature(list_layout(blocks))),
                "result": Out(stream.Signature(step_result_layout(heads=heads, k=k))),
                "places": Out(places),
                "load": Out(places),
                "evict": Out(places),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Note the list, scan the slots, give those that are spare: one after the other."""
        m = Module()
        sizes, slots = self.parameters, self._k - 1
        n_words = self._heads * slots
        m.submodules.table = table = Memory(shape=word_layout(self._blocks), depth=n_words, init=[])
        m.submodules.marks = marks = Memory(shape=mark_layout(slots), depth=self._blocks, init=[])
        m.submodules.list = kept = Memory(shape=index(self._blocks), depth=self._k, init=[])
        w_table, r_table = table.write_port(), table.read_port()
        w_mark, r_mark = marks.write_port(), marks.read_port()
        w_list, r_list = kept.write_port(), kept.read_port()
        m.submodules.check = check = WantedCheck(blocks=self._blocks, most=slots)
        m.submodules.scan = scan = SlotScan(slots=slots, blocks=self._blocks)
        m.submodules.spare = spare = SpareSlots(slots=slots, blocks=self._blocks)
        m.submodules.give = give = SlotGive(**sizes)
        m.submodules.results = results = Queue(shape=self.result.payload.shape(), depth=2)
        connect_stream(m, wiring.flipped(self.wanted), check.i)
        connect_stream(m, results.o, wiring.flipped(self.result))
        for name in ("places", "load", "evict"):
            connect_stream(m, getattr(give, name), wiring.flipped(getattr(self, name)))

        step = Signal(self.step.payload.shape(), reset_less=True)
        refused = Signal(reset_less=True)
        base = Signal(range(n_words), reset_less=True)  # of the head's slots
        place = Signal(range(n_words + 1))
        n = Signal(range(self._k + 1), reset_less=True)  # blocks of the list
        at = Signal(range(self._k + 1), reset_less=True)  # slots scanned, or blocks given
        has_tail = Signal(reset_less=True)
        hits = Signal(range(self._k), reset_less=True)
        misses = Signal(signed(len(hits) + 2))
        is_giving = Signal(reset_less=True)
        faults = Signal(data.StructLayout(dict.fromkeys(FAULTS, 1)), reset_less=True)
        m.d.comb += [
            r_table.addr.eq(place[: len(r_table.addr)]),
            r_list.addr.eq(at[: len(r_list.addr)]),
            r_mark.addr.eq(Mux(is_giving, r_list.data, r_table.data.block)),
            scan.slot.eq(at[: len(scan.slot)]),
            scan.clears.eq(step.clears),
            scan.word.eq(r_table.data),
            scan.mark.eq(r_mark.data),
            spare.put.eq(scan.put),
            spare.spare.eq(scan.spare),
            spare.take.eq(give.take),
            give.head.eq(step.head),
            give.is_last.eq(step.last),
            give.block.eq(r_list.data),
            give.mark.eq(r_mark.data),
            give.first.eq(spare.first),
            check.call.payload.tail.eq(step.tail),
            check.call.payload.dropped.eq(refused),
            misses.eq(n - has_tail - hits),
            results.i.payload.head.eq(step.head),
            results.i.payload.hits.eq(hits),
            results.i.payload.misses.eq(misses[: len(hits)]),
            results.i.payload.tail.eq(has_tail),
            results.i.payload.refused.eq(refused),
            *(results.i.payload[name].eq(faults[name]) for name in FAULTS),
        ]
        # A block that is found is marked so; one that has been dealt with has no mark.
        with m.If(scan.hit):
            m.d.sync += hits.eq(hits + 1)
            m.d.comb += [
                w_mark.en.eq(1),
                w_mark.addr.eq(scan.spare.block),
                w_mark.data.slot.eq(scan.spare.slot),
                w_mark.data.wanted.eq(1),
                w_mark.data.found.eq(1),
            ]
        with m.If(give.clears):
            m.d.comb += [w_mark.en.eq(1), w_mark.addr.eq(give.marked)]
        with m.If(give.take):
            m.d.comb += [
                w_table.en.eq(1),
                w_table.addr.eq(base + spare.first.slot),
                w_table.data.block.eq(give.loaded),
                w_table.data.held.eq(1),
            ]

        with m.FSM():
            with m.State("sweep"):
                m.d.sync += place.eq(place + 1)
                m.d.comb += [
                    w_table.addr.eq(place[: len(w_table.addr)]),
                    w_table.en.eq(1),
                ]
                with m.If(place == n_words - 1):
                    m.next = "take"
            with m.State("take"):
                m.d.comb += [self.step.ready.eq(1), spare.clear.eq(1)]
                m.d.sync += [
                    step.eq(self.step.payload),
                    n.eq(0),
                    at.eq(0),
                    hits.eq(0),
                    has_tail.eq(0),
                    is_giving.eq(0),
                ]
                with m.If(self.step.valid):
                    m.next = "look"
            with m.State("look"):
                m.d.sync += [
                    refused.eq((step.head >= self._heads) | (step.tail >= self._blocks)),
                    base.eq(step.head * slots),
                ]
                m.next = "call"
            with m.State("call"):
                m.d.comb += check.call.valid.eq(1)
                m.d.sync += place.eq(base)
                m.next = "note"
            with m.State("note"):
                item = check.o.payload
                m.d.comb += [
                    check.o.ready.eq(1),
                    w_list.addr.eq(n[: len(w_list.addr)]),
                    w_list.data.eq(item.block),
                    w_mark.addr.eq(item.block),
                    w_mark.data.wanted.eq(1),
                    w_mark.data.found.eq(item.tail),
                    w_mark.data.slot.eq(Mux(item.tail, slots, 0)),
                ]
                m.d.sync += [faults[name].eq(item[name]) for name in FAULTS]
                with m.If(check.o.valid & item.end):
                    m.next = "scan"
                    with m.If(refused):
                        m.next = "tell"
                with m.Elif(check.o.valid):
                    m.d.comb += [w_list.en.eq(1), w_mark.en.eq(1)]
                    m.d.sync += [n.eq(n + 1), has_tail.eq(item.tail)]
            with m.State("scan"):
                m.d.comb += [
                    scan.scans.eq(1),
                    w_table.addr.eq(place[: len(w_table.addr)]),
                    w_table.en.eq(step.clears),
                ]
                m.d.sync += [place.eq(place + 1), at.eq(at + 1)]
                with m.If(at == slots - 1):
                    m.next = "settle"
            with m.State("settle"), m.If(~scan.is_busy):
                m.next = "tell"
            with m.State("tell"):
                m.d.comb += results.i.valid.eq(1)
                m.d.sync += [at.eq(0), is_giving.eq(1)]
                with m.If(results.i.ready):
                    m.next = "give"
            with m.State("give"):
                m.d.comb += give.gives.eq((at != n) & give.has_room)
                with m.If(give.gives):
                    m.d.sync += at.eq(at + 1)
                with m.If((at == n) & give.is_empty):
                    m.d.comb += give.ends.eq(1)
                    m.next = "take"
        return m
