"""A row is read before the next one ends, and never where another one is written: a proof."""

from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.row_sums import RowSums
from qkloom.tb.formal import prove, witness

SIZES = {"blocks": 4, "fraction": 1, "exp_fraction": 1}


class RowSumsClaims(Component):
    """Rows of one, two, ... scores at any pace; another sweep when nothing is read any more."""

    INNER = ("reads", "place", "last_place", "r_bank", "column", "bank", "number", "r_number")

    def __init__(self):
        self.dut = RowSums(**SIZES)
        widths = {"reads": 1, "r_bank": 1, "bank": 1}
        inner = {name: In(widths.get(name, 2)) for name in self.INNER}
        self.peek = {name: f"dut.{name}" for name in self.INNER}
        super().__init__({"valid": In(1), "end": In(1), "x": In(17), **inner, "rows_meet": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        score = dut.i.payload
        row, column = Signal(2), Signal(2)
        waits = Signal()  # a sweep is over, and still read
        m.d.comb += [
            dut.i.valid.eq(self.valid),
            score.x.eq(self.x),
            score.last.eq(column == row),
            score.end.eq(self.end),
            Assume(self.end | ~(self.valid & score.last & (row == SIZES["blocks"] - 1))),
            Assume(~(waits & self.valid)),
        ]
        with m.If(self.valid):
            m.d.sync += column.eq(Mux(score.last, 0, column + 1))
            with m.If(score.last):
                m.d.sync += [row.eq(Mux(self.end, 0, row + 1)), waits.eq(self.end)]
        is_last_read = Signal()
        m.d.comb += is_last_read.eq(self.reads & (self.place == self.last_place))
        with m.If(waits & is_last_read):
            m.d.sync += waits.eq(0)

        # What follows: no row ends while one is read; its bank is not written to.
        ends = Signal()
        m.d.comb += ends.eq(self.valid & score.last)
        with m.If(self.reads):
            m.d.comb += [Assert(~ends), Assert(self.r_bank != self.bank)]
            # It is at least as far as the row that comes.
            m.d.comb += [
                Assert(self.place >= column),
                Assert(self.place <= self.last_place),
                Assert(self.last_place == self.r_number),
            ]
            with m.If(~waits):
                m.d.comb += Assert(row == self.last_place + 1)
            with m.Else():
                m.d.comb += Assert((row == 0) & (column == 0))
        with m.Else():
            m.d.comb += [Assert(self.place == 0), Assert(~waits)]
        m.d.comb += [
            Assert(self.column == column),
            Assert(self.number == row),
            Assert(column <= row),
            self.rows_meet.eq(is_last_read & self.valid & (row == 3) & (column == 2)),
        ]
        return m


def test_proof(require):
    require("yosys")
    claims = RowSumsClaims()
    design = emit(claims, name="claims")
    prove(design, depth=2, peek=claims.peek)
    # The third row's last score is read while the next to last of the fourth comes.
    assert witness(design, "rows_meet", depth=12) > 7
