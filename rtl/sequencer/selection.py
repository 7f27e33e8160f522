"""From a selection in memory to what a walker is told of a round."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream import Queue, RegisterSlice, connect_stream
from .assign import Assigner
from .call import SELECTION_WIDTH, n_blocks, needed_layout
from .needs import Needs
from .select import Selector, selected_entries, word_numbers

__all__ = ["Selection"]


class Selection(Component):
    """Between who deals out query blocks and who walks: rows are read a round ahead.

    ::

        i --> slice --+--> selector -----> queue --+--> o
                      |     |    |                 |
                      |  memory  +--> needs -------|--> needed
                      +----------------------------+  of a call without a selection

    With ``per_lane``, query blocks come in windows, and get their lanes and slots here, before they
    queue::

        selector --> assigner --> queue

    Parameters
    ----------
    n_lanes, slots, heads, tokens, head_dim, size, block, data_width, gemm, per_lane
        As of :class:`~qkloom.rtl.sequencer.select.Selector`.

    Members
    -------
    sparse : In(1)
        The call has a selection. Without one query blocks pass as they come, in a cycle.
    i, o, request, word
        As of the selector.
    needed : Out(stream)
        As of :class:`~qkloom.rtl.sequencer.needs.Needs`.
    forget : In(1)
        With ``per_lane``: lanes have no jobs so far, as of a call that begins; while not busy.
    busy : Out(1)
        Query blocks are in here, or were in the cycle before.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self,
        *,
        n_lanes: int,
        slots: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        data_width: int,
        gemm: bool = False,
        per_lane: int = 0,
    ) -> None:
        given = {name: self.parameters[name] for name in self.parameters if name != "data_width"}
        before, behind = selected_entries(**given)
        places = n_lanes * max(per_lane, 1)
        self._needs: dict[str, Any] = dict(
            n_lanes=places, tokens=tokens, block=block, ends=per_lane > 0
        )
        self._assigner: dict[str, Any] = {}
        if per_lane:
            blocks = n_blocks(heads=1, tokens=tokens, block=block)
            self._assigner = dict(
                shape=behind,
                n_lanes=n_lanes,
                slots=slots,
                per_lane=per_lane,
                jobs=blocks,
                total=heads * blocks**2,
            )
        numbers = word_numbers(heads=heads, tokens=tokens, block=block, data_width=data_width)
        super().__init__(
            {
                "sparse": In(1),
                "i": In(stream.Signature(before)),
                "o": Out(stream.Signature(behind)),
                "request": Out(stream.Signature(numbers)),
                "word": In(stream.Signature(SELECTION_WIDTH)),
                "needed": Out(stream.Signature(needed_layout(**self._needs))),
                **({"forget": In(1)} if per_lane else {}),
                "busy": Out(1),
            }
        )
        self._depth = places

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; the queue has room for all query blocks of a round."""
        m = Module()
        m.submodules.selector = selector = Selector(**self.parameters)
        m.submodules.needs = needs = Needs(**self._needs)
        shape = self.o.payload.shape()
        m.submodules.entry = entry = RegisterSlice(shape=self.i.payload.shape(), mode="half")
        m.submodules.queue = queue = Queue(shape=shape, depth=self._depth)
        connect_stream(m, wiring.flipped(self.i), entry.i)
        assigns: Any = 0
        if self._assigner:
            assigns = self._assign(m, selector, queue)
        else:
            connect_stream(m, selector.o, queue.i)
        m.submodules.mark = mark = RegisterSlice(shape=needs.i.payload.shape())
        connect_stream(m, selector.marks, mark.i)
        connect_stream(m, mark.o, needs.i)
        connect_stream(m, selector.request, wiring.flipped(self.request))
        connect_stream(m, wiring.flipped(self.word), selector.word)
        connect_stream(m, needs.o, wiring.flipped(self.needed))
        is_here = Signal()
        was_here = Signal()
        m.d.sync += was_here.eq(is_here)
        m.d.comb += [
            selector.i.payload.eq(entry.o.payload),
            is_here.eq(entry.o.valid | queue.o.valid | assigns),
            self.busy.eq(is_here | was_here),
        ]
        with m.If(self.sparse):
            m.d.comb += [
                selector.i.valid.eq(entry.o.valid),
                entry.o.ready.eq(selector.i.ready),
                self.o.payload.eq(queue.o.payload),
                self.o.valid.eq(queue.o.valid),
                queue.o.ready.eq(self.o.ready),
            ]
        with m.Else():
            m.d.comb += [self.o.valid.eq(entry.o.valid), entry.o.ready.eq(self.o.ready)]
            for name in self.i.payload.shape().members:
                m.d.comb += self.o.payload[name].eq(entry.o.payload[name])
        return m

    def _assign(self, m: Module, selector: Selector, queue: Queue) -> Signal:
        """Give lanes and slots to the query blocks of a window; return whether there are some."""
        m.submodules.assigner = assigner = Assigner(**self._assigner)
        counted, assigned, queued = assigner.i.payload, assigner.o.payload, queue.i.payload
        m.d.comb += [
            counted.item.eq(selector.o.payload),
            counted.jobs.eq(selector.jobs),
            counted.ends.eq(selector.o.payload.entry.round_ends),
            assigner.i.valid.eq(selector.o.valid),
            selector.o.ready.eq(assigner.i.ready),
            assigner.forget.eq(self.forget),
            queue.i.valid.eq(assigner.o.valid),
            assigner.o.ready.eq(queue.i.ready),
        ]
        own = {"lane": assigned.lane, "slot": assigned.slot}
        for name in queued.shape().members:
            if name != "entry":
                m.d.comb += queued[name].eq(assigned.item[name])
        for name in queued.entry.shape().members:
            value = own.get(name, assigned.item.entry[name])
            m.d.comb += queued.entry[name].eq(value)
        return assigner.busy
