"""The cells of a selector: the best candidates so far, in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["SelectorCells", "cell_layout"]

PER_GROUP = 16
"""Cells that look at one copy of the candidate."""


def cell_layout(*, blocks: int, rank_width: int) -> data.StructLayout:
    """Return what a cell holds: a block and its rank, or nothing unless ``filled``."""
    return data.StructLayout({"block": range(max(blocks, 2)), "rank": rank_width, "filled": 1})


class SelectorCells(Component):
    """Keep the ``n`` candidates of the highest ranks; of equal ones those that came first.

    ::

        candidate --+-------------+-------------+
                    v             v             v
        above --> cell 0 -->    cell 1 --> ... cell n-1 --> below

    A candidate goes to all cells, a cycle after it came. A cell that it beats takes over what is
    above it, and the first of them takes the candidate. So cells are always in order, and nothing
    has to be sorted. ``push`` moves all of them down by one, whatever they hold.

    A candidate or a push every cycle.

    Parameters
    ----------
    n : int
        Cells.
    blocks : int
        Most blocks.
    rank_width : int
        Bits of a rank, unsigned.

    Members
    -------
    candidate : In
        :func:`cell_layout`; without ``filled`` there is none.
    push : In(1)
        All cells move down; the candidate, if any, must not be ``filled``.
    above, is_beaten_above : In
        What is in the cell above the first one, and whether the candidate of the cycle before beats
        it; 0 if there is none.
    below, is_beaten_below : Out
        What is in the last cell, and whether it is beaten, or pushed out.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, n: int, blocks: int, rank_width: int) -> None:
        self._n = check_count("Number of cells", n)
        check_count("Rank width", rank_width)
        check_count("Blocks", blocks)
        self._sizes = {"blocks": blocks, "rank_width": rank_width}
        cell = cell_layout(**self._sizes)
        super().__init__(
            {
                "candidate": In(cell),
                "push": In(1),
                "above": In(cell),
                "is_beaten_above": In(1),
                "below": Out(cell),
                "is_beaten_below": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Chain groups, or build the cells of one."""
        m = Module()
        above, is_beaten_above = self.above, self.is_beaten_above
        if self._n > PER_GROUP:
            for first in range(0, self._n, PER_GROUP):
                n = min(PER_GROUP, self._n - first)
                m.submodules[f"group_{first}"] = group = SelectorCells(n=n, **self._sizes)
                m.d.comb += [
                    group.candidate.eq(self.candidate),
                    group.push.eq(self.push),
                    group.above.eq(above),
                    group.is_beaten_above.eq(is_beaten_above),
                ]
                above, is_beaten_above = group.below, group.is_beaten_below
        else:
            candidate = self._register("candidate")
            pushes = Signal()
            m.d.sync += [candidate.eq(self.candidate), pushes.eq(self.push)]
            for k in range(self._n):
                cell = self._register(f"cell_{k}")
                is_beaten = Signal(name=f"is_beaten_{k}")
                beats = candidate.filled & (~cell.filled | (candidate.rank > cell.rank))
                m.d.comb += is_beaten.eq(pushes | beats)
                with m.If(is_beaten):
                    m.d.sync += cell.eq(Mux(is_beaten_above, above, candidate))
                above, is_beaten_above = cell, is_beaten
        m.d.comb += [self.below.eq(above), self.is_beaten_below.eq(is_beaten_above)]
        return m

    def _register(self, name: str) -> data.View:
        """Return a register for a cell, of which only ``filled`` knows the reset."""
        shape = self.candidate.shape()
        kept = Signal(shape.size - 1, name=name, reset_less=True)
        filled = Signal(name=f"{name}_filled")
        return data.View(shape, Cat(kept, filled))
