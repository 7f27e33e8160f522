"""Lists hold what a head has selected, whatever that is: proofs of tiny ones, cycle by cycle.

They are bounded: one head after a reset, of all selections that there are.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.lists import SelectionLists
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove_run, witness

WIDTH = 4


class ListClaims(Component):
    """A source of candidates, and the definition beside what comes out.

    Candidates are free in the cycle in which the call is taken, and stay so.

    Parameters
    ----------
    n : int
        Blocks.
    pairs : bool
        Whether the head has pairs.
    waits : int
        Cycles in which the source, or one that takes, is not willing; any ones, so many in all.
    """

    def __init__(self, *, n, pairs, waits):
        self.n, self.pairs, self.waits = n, pairs, waits
        self.dut = SelectionLists(blocks=n, word_width=WIDTH)
        members = self.dut.signature.members
        self.n_pairs = n * (n + 1) // 2 if pairs else 0
        super().__init__(
            {
                "call": members["call"],
                "candidates": In(2 * n + self.n_pairs),
                "unwilling": In(3),
                "done": Out(1),
            }
        )

    @property
    def cycles(self):
        """From the reset to the last list's end."""
        items = sum(range(2, self.n + 2)) if not self.pairs else self.n + 2
        return 2 * self.n + self.n_pairs + items + 14 + self.waits

    def elaborate(self, platform):
        m = Module()
        n = self.n
        m.submodules.dut = dut = self.dut
        m.d.comb += Assume(~ResetSignal())
        waited = Signal(range(self.waits + 1))
        offered = Signal()
        m.d.sync += [
            waited.eq(waited + self.unwilling.any()),
            offered.eq(dut.i.valid & ~dut.i.ready),
        ]
        m.d.comb += Assume((self.unwilling == 0) | (waited < self.waits))

        there = Signal()
        candidates = Signal.like(self.candidates)
        n_sent = len(candidates)
        sent = Signal(range(n_sent + 1))
        ends = [n - 1, 2 * n - 1, n_sent - 1]
        connect_stream(m, wiring.flipped(self.call), dut.call)
        m.d.comb += [
            Assume(self.call.valid == ~there),
            Assume(self.call.payload.n == n),
            Assume(self.call.payload.pairs == self.pairs),
            dut.i.valid.eq(there & (sent != n_sent) & (offered | ~self.unwilling[0])),
            dut.i.payload.taken.eq(candidates.bit_select(sent, 1)),
            dut.i.payload.last.eq(Cat(sent == end for end in ends).any()),
            dut.masks.ready.eq(~self.unwilling[1]),
            dut.lists.ready.eq(~self.unwilling[2]),
        ]
        with m.If(self.call.valid & dut.call.ready):
            m.d.sync += [there.eq(1), candidates.eq(self.candidates)]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += sent.eq(sent + 1)

        n_words = -(-n // WIDTH)
        rows = [Signal(n_words * WIDTH, name=f"row_{r}") for r in range(n)]
        columns, diagonals, pairs = candidates[:n], candidates[n : 2 * n], candidates[2 * n :]
        for r, row in enumerate(rows):
            for c in range(r + 1):
                bit = columns[c] | diagonals[r - c]
                if self.pairs:
                    bit |= pairs[r * (r + 1) // 2 + c]
                m.d.comb += row[c].eq(bit)

        for name in ("masks", "lists"):
            obey(m, Assert, getattr(dut, name), name)
        self.claim_masks(m, rows, n_words)
        self.claim_lists(m, rows)
        return m

    def claim_masks(self, m, rows, n_words):
        masks = self.dut.masks
        word = Signal(range(self.n * n_words + 1))
        with m.If(masks.valid):
            m.d.comb += Assert(word < self.n * n_words)
            with m.Switch(word):
                for k in range(self.n * n_words):
                    with m.Case(k):
                        row, at = divmod(k, n_words)
                        wanted = rows[row].word_select(at, WIDTH)
                        m.d.comb += Assert(masks.payload.mask == wanted)
                        m.d.comb += Assert(masks.payload.last == (at == n_words - 1))
        with m.If(masks.valid & masks.ready):
            m.d.sync += word.eq(word + 1)

    def claim_lists(self, m, rows):
        """An entry takes the lowest bit that is left, and an end finds none."""
        lists = self.dut.lists
        number = Signal(range(self.n + 1))
        gone = Signal(self.n)  # bits of this row
        left = Signal(self.n)
        with m.Switch(number):
            for k, row in enumerate(rows):
                with m.Case(k):
                    m.d.comb += left.eq(row & ~gone)
        with m.If(lists.valid):
            m.d.comb += Assert(number < self.n)
            with m.If(lists.payload.end):
                m.d.comb += Assert(left == 0)
            with m.Else():
                bit = Signal(self.n)
                m.d.comb += [
                    bit.eq(1 << lists.payload.block),
                    Assert(lists.payload.block < self.n),
                    Assert((left & bit) == bit),
                    Assert((left & (bit - 1)) == 0),
                ]
            with m.If(lists.ready):
                m.d.sync += gone.eq(gone | bit)
                with m.If(lists.payload.end):
                    m.d.sync += [gone.eq(0), number.eq(number + 1)]
        m.d.comb += self.done.eq(number == self.n)


@pytest.mark.parametrize(
    ("n", "pairs", "waits"),
    [(1, True, 2), (3, False, 1), (5, True, 0)],
)
def test_definition(require, n, pairs, waits):
    require("yosys")
    claims = ListClaims(n=n, pairs=pairs, waits=waits)
    design = emit(claims, name="claims")
    prove_run(design, depth=claims.cycles)
    # All lists have ended by then, however long they are.
    assert witness(design, "done", depth=claims.cycles) <= claims.cycles
