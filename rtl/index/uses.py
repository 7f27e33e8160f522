"""How often KV blocks will be used, and when again: what a cache wants to know beforehand."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index
from ..stream import Queue, connect_stream
from .list import list_layout
from .sweep import UseSweep, triangle, uses_call

__all__ = ["UseTable", "use_layout"]

_DEPTH = 8
"""Room for entries that are on their way when the room is looked at: rate 1."""


def use_layout(*, blocks: int, heads: int, window: int) -> data.StructLayout:
    """Return the layout of a KV block's use in a window, or of the window's ``end``.

    ``jobs`` of the block in this window; ``left``: these and all later ones. ``again``: there are
    later ones, and ``next`` is the first window with any. With ``end``, and of ``next`` without
    ``again``, all is 0.
    """
    check_count("Blocks", blocks)
    check_count("Heads", heads)
    check_count("Window", window)
    return data.StructLayout(
        {
            "block": range(max(blocks, 2)),
            "left": range(blocks * heads + 1),
            "jobs": range(min(window, blocks) * heads + 1),
            "next": index(-(-blocks // window)),
            "again": 1,
            "end": 1,
        }
    )


class UseTable(Component):
    """Tell for each window of query blocks which KV blocks it uses, how often, and when again.

    ::

        i --> add --> jobs (memory: windows x blocks) --+
                                                        +--> sweep --> queue --> o
                next (likewise) <--> live (blocks) <----+

    Attention takes ``window`` query blocks of all heads of a KV group at a time, and KV blocks in
    ascending order (FAST-Prefill, sparse attention; windows bound its state). Jobs left are a
    block's liveness there: at 0 nobody needs it.

    First all lists are added up. Then a sweep from the last window to the first writes down when a
    block is used next, and counts all its jobs; one from the first to the last tells, and leaves
    zeros behind. No block comes after its window: so the memory is a triangle, whose words are
    visited in the order of their places.

    A list's item a cycle; a sweep takes a cycle for each block up to the end of each window, used
    or not, and 1 more for each window; the second one 3 more. With 1,024 blocks in windows of 8
    that is 66,048 blocks. After a reset all is cleared first, a block a cycle.

    Parameters
    ----------
    blocks : int
        Most blocks.
    heads : int
        Most heads of a group.
    window : int
        Query blocks of a window.

    Members
    -------
    call : In(stream)
        The group: :func:`~qkloom.rtl.index.sweep.uses_call`; at least one block and one head.
    i : In(stream)
        The lists of the rows of all heads, :func:`~qkloom.rtl.index.list.list_layout`: rows
        ascending, one head after the other. Entries ascend, and none of row r is above r.
    o : Out(stream)
        :func:`use_layout`: for each window, ascending, the KV blocks that it uses, ascending, and
        its end.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, heads: int, window: int) -> None:
        shape = use_layout(**self.parameters)
        self._blocks, self._window = blocks, window
        super().__init__(
            {
                "call": In(stream.Signature(uses_call(blocks=blocks, heads=heads))),
                "i": In(stream.Signature(list_layout(blocks))),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read what a step is about; write it back in the next cycle."""
        m = Module()
        m.submodules.sweep = sweep = UseSweep(**self.parameters)
        connect_stream(m, wiring.flipped(self.call), sweep.call)
        connect_stream(m, wiring.flipped(self.i), sweep.i)
        use = self.o.payload.shape()
        step = Signal(sweep.o.shape())  # whose words are read
        m.d.sync += step.eq(sweep.o)
        blocks, depth = self._blocks, triangle(blocks=self._blocks, window=self._window)

        link = data.StructLayout({"next": use["next"].shape, "again": 1})
        state = data.StructLayout({"left": use["left"].shape, "link": link})
        m.submodules.jobs = jobs = Memory(shape=use["jobs"].shape, depth=depth, init=[])
        m.submodules.next = later = Memory(shape=link, depth=depth, init=[])
        m.submodules.live = live = Memory(shape=state, depth=blocks, init=[])
        r_jobs, w_jobs = jobs.read_port(), jobs.write_port()
        r_next, w_next = later.read_port(), later.write_port()
        r_live, w_live = live.read_port(), live.write_port()
        old = Signal(state)
        is_used = Signal()
        m.d.comb += [
            r_jobs.addr.eq(sweep.o.place),
            w_jobs.addr.eq(step.place),
            w_jobs.en.eq(step.adds | step.clears | step.tells),
            w_jobs.data.eq(Mux(step.adds, r_jobs.data + 1, 0)),
            is_used.eq(r_jobs.data.any()),
            r_next.addr.eq(sweep.o.place),
            w_next.addr.eq(step.place),
            w_next.en.eq(step.backs),
            w_next.data.eq(old.link),
            r_live.addr.eq(sweep.o.block),
            w_live.addr.eq(step.block),
            w_live.en.eq(step.backs | step.tells),
            w_live.data.left.eq(Mux(step.tells, old.left - r_jobs.data, old.left + r_jobs.data)),
            w_live.data.link.eq(old.link),
        ]
        # On the way back nothing is known yet, in the last window, of any block.
        with m.If(~(step.backs & step.is_last)):
            m.d.comb += old.eq(r_live.data)
        with m.If(is_used):
            m.d.comb += [w_live.data.link.next.eq(step.number), w_live.data.link.again.eq(1)]

        m.submodules.queue = queue = Queue(shape=use, depth=_DEPTH)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        use_3 = Signal(use, reset_less=True)
        comes = Signal()
        has_room = Signal()
        m.d.comb += [
            sweep.has_room.eq(has_room),
            queue.i.valid.eq(comes),
            queue.i.payload.eq(use_3),
        ]
        m.d.sync += [
            # Four may be on their way.
            has_room.eq(queue.level <= _DEPTH - 5),
            comes.eq((step.tells & is_used) | step.ends),
            use_3.eq(0),
            use_3.end.eq(step.ends),
        ]
        with m.If(~step.ends):
            m.d.sync += [
                use_3.block.eq(step.block),
                use_3.left.eq(old.left),
                use_3.jobs.eq(r_jobs.data),
                use_3.next.eq(r_next.data.next),
                use_3.again.eq(r_next.data.again),
            ]
        return m
