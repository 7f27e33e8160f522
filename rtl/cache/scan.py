"""A head's slots, one after the other: whose block is wanted, and who may be given away."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index
from .spare import spare_layout

__all__ = ["SlotScan", "mark_layout", "word_layout"]


def word_layout(blocks: int) -> data.StructLayout:
    """Return what the table has of a slot: the block in it, if it is ``held``."""
    return data.StructLayout({"block": index(blocks), "held": 1})


def mark_layout(slots: int) -> data.StructLayout:
    """Return what is known of a block during a step: ``wanted``, and ``found`` in ``slot``."""
    return data.StructLayout({"slot": index(slots + 1), "wanted": 1, "found": 1})


class SlotScan(Component):
    """Decide about a slot a cycle: it holds a wanted block, a hit, or it is spare.

    A slot's word comes a cycle after ``scans``, the mark of the block in it another one later, and
    then the verdict, in the same cycle. A block that was found before is not found again.

    Parameters
    ----------
    slots : int
        Slots of a head, without that of the tail.
    blocks : int
        Most blocks.

    Members
    -------
    scans : In(1)
        The word of ``slot`` is being read.
    slot : In(range(slots))
        The slot.
    clears : In(1)
        Whatever the words say, nothing is held.
    word : In
        What was read in the cycle before: :func:`word_layout`.
    mark : In
        The mark of the block of the word in the cycle before: :func:`mark_layout`.
    is_busy : Out(1)
        There are slots without a verdict.
    hit : Out(1)
        ``spare.slot`` holds ``spare.block``, and that is wanted.
    put : Out(1)
        The slot may be given away.
    spare : Out
        The slot of the verdict: :func:`~qkloom.rtl.cache.spare.spare_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, slots: int, blocks: int) -> None:
        check_count("Number of slots", slots)
        check_count("Blocks", blocks)
        super().__init__(
            {
                "scans": In(1),
                "slot": In(index(slots)),
                "clears": In(1),
                "word": In(word_layout(blocks)),
                "mark": In(mark_layout(slots)),
                "is_busy": Out(1),
                "hit": Out(1),
                "put": Out(1),
                "spare": Out(spare_layout(slots=slots, blocks=blocks)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Delay what was read until its mark is there."""
        m = Module()
        is_read = Signal()
        is_marked = Signal()
        slot = Signal.like(self.slot, reset_less=True)
        at = Signal(self.spare.shape(), reset_less=True)
        m.d.sync += [
            is_read.eq(self.scans),
            is_marked.eq(is_read),
            slot.eq(self.slot),
            at.slot.eq(slot),
            at.block.eq(self.word.block),
            at.held.eq(self.word.held & ~self.clears),
        ]
        m.d.comb += [
            self.is_busy.eq(is_read | is_marked),
            self.hit.eq(is_marked & at.held & self.mark.wanted & ~self.mark.found),
            self.put.eq(is_marked & ~self.hit),
            self.spare.eq(at),
        ]
        return m
