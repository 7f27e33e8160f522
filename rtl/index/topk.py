"""The best of a stream of candidates."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import Queue
from .blocks import candidate_layout
from .cells import SelectorCells
from .list import list_layout

__all__ = ["TopK"]

_DEPTH = 4
"""Room for entries that are on their way when the room is looked at: rate 1."""


class TopK(Component):
    """Choose the ``k`` best candidates: forced ones first, then by score, then the lower block.

    The cells keep ``k_max`` of them. At the end all are pushed out, the last one first, which
    leaves the cells empty; those beyond ``k`` are dropped. That is the order of a list that comes
    out; :class:`~qkloom.rtl.index.sort.BlockSorter` puts it into ascending order.

    A candidate a cycle; then ``k_max + 1`` cycles until the next one is taken.

    Parameters
    ----------
    k_max : int
        Most blocks to choose.
    blocks : int
        Most blocks.
    score_width : int
        Bits of a score.

    Members
    -------
    k : In(stream)
        Blocks to choose, 0 to ``k_max``; taken with the end of the candidates.
    i : In(stream)
        Candidates, blocks ascending, and their end:
        :func:`~qkloom.rtl.index.blocks.candidate_layout`. ``flat`` says nothing here.
    o : Out(stream)
        The list of those chosen, or of all if they are fewer:
        :func:`~qkloom.rtl.index.list.list_layout`; worst first.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, k_max: int, blocks: int, score_width: int) -> None:
        self._k_max = check_count("Largest k", k_max)
        self._blocks = check_count("Blocks", blocks)
        self._score_width = check_count("Score width", score_width)
        candidate = candidate_layout(blocks=blocks, score_width=score_width)
        super().__init__(
            {
                "k": In(stream.Signature(range(k_max + 1))),
                "i": In(stream.Signature(candidate)),
                "o": Out(stream.Signature(list_layout(blocks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take candidates; at their end push out what there is."""
        m = Module()
        i = self.i.payload
        m.submodules.cells = cells = SelectorCells(
            n=self._k_max, blocks=self._blocks, rank_width=self._score_width + 1
        )
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=_DEPTH)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        takes = Signal(init=1)
        pushes = Signal()
        place = Signal(range(self._k_max))  # of the cell that comes out at the end
        k = Signal.like(self.k.payload, reset_less=True)
        has_room = Signal()
        m.d.comb += has_room.eq(queue.level <= _DEPTH - 2)
        is_chosen = Signal()
        ends = Signal()
        m.d.comb += self.i.ready.eq(takes & (~i.end | self.k.valid))
        with m.FSM():
            with m.State("take"):
                m.d.comb += [
                    cells.candidate.filled.eq(self.i.valid & ~i.end),
                    self.k.ready.eq(self.i.valid & i.end),
                ]
                m.d.sync += [k.eq(self.k.payload), place.eq(self._k_max - 1)]
                with m.If(self.i.valid & i.end & self.k.valid):
                    m.d.sync += takes.eq(0)
                    m.next = "push"
            with m.State("push"):
                m.d.comb += pushes.eq(has_room)
                with m.If(has_room):
                    m.d.sync += place.eq(place - 1)
                    with m.If(place == 0):
                        m.next = "end"
            with m.State("end"):
                m.d.comb += ends.eq(has_room)
                with m.If(has_room):
                    m.d.sync += takes.eq(1)
                    m.next = "take"
        # A score with its sign turned is in the order of unsigned numbers.
        m.d.comb += [
            cells.candidate.block.eq(i.block),
            cells.candidate.rank.eq(Cat(i.score[:-1], ~i.score[-1], i.forced)),
            cells.push.eq(pushes),
        ]

        # Cells see a push a cycle later.
        is_pushed = Signal()
        is_end = Signal()
        m.d.sync += [
            is_pushed.eq(pushes),
            is_end.eq(ends),
            is_chosen.eq(place < k),
        ]
        m.d.comb += [
            queue.i.valid.eq((is_pushed & is_chosen & cells.below.filled) | is_end),
            queue.i.payload.end.eq(is_end),
        ]
        with m.If(~is_end):
            m.d.comb += queue.i.payload.block.eq(cells.below.block)
        return m
