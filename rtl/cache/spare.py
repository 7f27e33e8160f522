"""Slots that may be given away during a step, in the order in which they are."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index

__all__ = ["SpareSlots", "spare_layout"]


def spare_layout(*, slots: int, blocks: int) -> data.StructLayout:
    """Return a slot that may be given away, and the block in it, if it is ``held``."""
    return data.StructLayout({"slot": index(slots), "block": index(blocks), "held": 1})


class SpareSlots(Component):
    """Keep slots until they are given away: first the free ones, then those with a block in them.

    One memory of ``slots`` words: free slots fill it from below, the others from above, each in
    the order in which they come. Both together are never more than all.

    Parameters
    ----------
    slots : int
        Most slots.
    blocks : int
        Most blocks.

    Members
    -------
    clear : In(1)
        All are forgotten.
    put : In(1)
        Keep ``spare``; at most ``slots`` times after a clear.
    spare : In
        :func:`spare_layout`.
    take : In(1)
        The one that is ``first`` is given away. None is put from the first take on.
    first : Out
        The next one, in the same cycle; :func:`spare_layout`. It says nothing when all are gone.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, slots: int, blocks: int) -> None:
        self._slots = check_count("Number of slots", slots)
        check_count("Blocks", blocks)
        spare = spare_layout(slots=slots, blocks=blocks)
        super().__init__(
            {"clear": In(1), "put": In(1), "spare": In(spare), "take": In(1), "first": Out(spare)}
        )

    def elaborate(self, platform: object) -> Module:
        """Point to where the next ones go, and to where the next one comes from."""
        m = Module()
        top = self._slots - 1
        m.submodules.kept = kept = Memory(shape=self.spare.shape(), depth=self._slots, init=[])
        write, read = kept.write_port(), kept.read_port(domain="comb")
        n_free = Signal(range(self._slots + 1))
        n_taken = Signal(range(self._slots + 1))
        above = Signal(index(self._slots), init=top)  # where the next one with a block goes
        taken_above = Signal(index(self._slots), init=top)
        is_free_left = Signal()
        m.d.comb += [
            write.en.eq(self.put),
            write.addr.eq(Mux(self.spare.held, above, n_free)),
            write.data.eq(self.spare),
            is_free_left.eq(n_taken != n_free),
            read.addr.eq(Mux(is_free_left, n_taken, taken_above)),
            self.first.eq(read.data),
        ]
        with m.If(self.put):
            with m.If(self.spare.held):
                m.d.sync += above.eq(above - 1)
            with m.Else():
                m.d.sync += n_free.eq(n_free + 1)
        with m.If(self.take):
            with m.If(is_free_left):
                m.d.sync += n_taken.eq(n_taken + 1)
            with m.Else():
                m.d.sync += taken_above.eq(taken_above - 1)
        with m.If(self.clear):
            m.d.sync += [n_free.eq(0), n_taken.eq(0), above.eq(top), taken_above.eq(top)]
        return m
