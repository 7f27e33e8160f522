"""The cells of a selector: where any candidate stands is how many are better."""

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.cells import SelectorCells, cell_layout
from qkloom.tb.formal import prove, witness


class CellClaims(Component):
    """A free candidate is followed: it stands where as many cells are above as there are better.

    Better is one of a higher rank, or of the same one that came before. So what the cells hold are
    the best, in order, none twice, as many as came or as there are cells; and pushes move all down.
    """

    def __init__(self, *, n, rank_width=2, blocks=4):
        self.n = n
        self.sizes = {"rank_width": rank_width, "blocks": blocks}
        cell = cell_layout(**self.sizes)
        super().__init__(
            {
                "candidate": In(cell),
                "push": In(1),
                "pick": In(1),
                "cells": In(cell.size - 1).array(n),
                "filled": In(1).array(n),
                "pushed_out": Out(1),
            }
        )
        self.peek = {f"cells__{k}": f"dut.cell_{k}" for k in range(n)}
        self.peek |= {f"filled__{k}": f"dut.cell_{k}_filled" for k in range(n)}

    def elaborate(self, platform):
        m = Module()
        n, layout = self.n, cell_layout(**self.sizes)
        m.submodules.dut = dut = SelectorCells(n=n, **self.sizes)
        m.d.comb += [dut.candidate.eq(self.candidate), dut.push.eq(self.push)]
        with m.If(self.push):
            m.d.comb += Assume(~self.candidate.filled)
        # Candidates come before pushes, and anew after n of them.
        pushes = Signal(range(n + 1))  # as cells have seen
        late = Signal(layout)
        was_pushed = Signal()
        m.d.sync += [late.eq(self.candidate), was_pushed.eq(self.push)]
        with m.If(was_pushed):
            m.d.sync += pushes.eq(Mux(pushes == n - 1, 0, pushes + 1))
        coming = Signal(range(n + 1))
        m.d.comb += coming.eq(Mux(was_pushed, Mux(pushes == n - 1, 0, pushes + 1), pushes))
        with m.If(coming != 0):
            m.d.comb += Assume(~self.candidate.filled)
        count = Signal(range(n + 1))
        better = Signal(range(n + 2))
        m.d.comb += [
            Assert(pushes < n),
            Assert(count <= n),
            Assert(better <= n),
            Assert(~(late.filled & was_pushed)),
        ]
        with m.If(pushes != 0):
            m.d.comb += Assert(~late.filled)

        # Filled cells are the ones that pushes and candidates make so, and in order.
        with m.If(was_pushed & (pushes == n - 1)):
            m.d.sync += count.eq(0)
        with m.Elif(late.filled & (count != n)):
            m.d.sync += count.eq(count + 1)
        rank = [data.View(cell_of(layout), self.cells[k]) for k in range(n)]
        for k in range(n):
            is_filled = (pushes <= k) & (k < count + pushes)
            m.d.comb += Assert(self.filled[k] == is_filled)
            if k:
                with m.If(self.filled[k] & self.filled[k - 1]):
                    m.d.comb += Assert(rank[k - 1].rank >= rank[k].rank)

        # The candidate that is followed, and how many are better.
        active = Signal()
        mine = Signal(layout)
        of_newcomer = [rank[k].rank >= late.rank for k in range(n)]
        with m.If(active & late.filled & (late.rank > mine.rank) & (better < n)):
            m.d.sync += better.eq(better + 1)
        picked = Signal()
        m.d.sync += picked.eq(self.pick & self.candidate.filled & (coming == 0))
        with m.If(~active & picked):
            m.d.sync += [
                active.eq(1),
                mine.eq(late),
                better.eq(sum(self.filled[k] & of_newcomer[k] for k in range(n))),
            ]
        with m.If(was_pushed & (pushes == n - 1)):
            m.d.sync += active.eq(0)
        with m.If(picked):
            m.d.comb += Assert(late.filled)
        for k in range(n):
            here = active & (better + pushes == k)
            with m.If(here):
                m.d.comb += [
                    Assert(self.filled[k]),
                    Assert(self.cells[k] == mine.as_value()[: layout.size - 1]),
                ]
            # Whoever is above is not worse, whoever is below not better.
            if k:
                with m.If(active & (better + pushes < k) & self.filled[k]):
                    m.d.comb += Assert(rank[k].rank <= mine.rank)
        # Inner signals are free in a witness: it counts by itself who overtook.
        overtook = Signal(range(n + 1))
        with m.If(~active):
            m.d.sync += overtook.eq(0)
        with m.Elif(late.filled & (late.rank > mine.rank) & (overtook != n)):
            m.d.sync += overtook.eq(overtook + 1)
        m.d.comb += self.pushed_out.eq(active & (overtook == n))
        return m


def cell_of(layout):
    """Return what a cell keeps beside being filled."""
    return data.StructLayout({name: field.shape for name, field in layout if name != "filled"})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_proof(require, n):
    """For ever, by induction."""
    require("yosys")
    claims = CellClaims(n=n)
    design = emit(claims, name="claims")
    prove(design, depth=5, peek=claims.peek)
    assert witness(design, "pushed_out", depth=n + 6) > n + 2


@pytest.mark.parametrize("n", [1, 16, 17, 40])
def test_conversion(n):
    rtlil.convert(SelectorCells(n=n, blocks=9, rank_width=5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "Number of cells must be a positive integer, not 0"),
        ({"rank_width": 0}, "Rank width must be a positive integer, not 0"),
        ({"blocks": -1}, "Blocks must be a positive integer, not -1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SelectorCells(**{"n": 4, "blocks": 4, "rank_width": 4} | change)
