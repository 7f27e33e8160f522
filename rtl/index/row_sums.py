"""Largest score of each row, and the reciprocal of its powers' sum."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed
from ..lane.reciprocal import Reciprocal
from .exp2 import Exp2Table

__all__ = ["RowSums"]

_RECIPROCAL = 17


class RowSums(Component):
    """Find out what scores of a row have to be compared with; keep it for each row.

    ::

        i --+--> maximum --------------------+--------------> maxima ------+--> of `row`
            |                                v                             |
            +--> buffers of two rows ------> (-) --> 2**-y --> sum --> reciprocals

    Row ``r``, from 0 on, has ``r + 1`` scores. While those of one row come, the powers of the row
    before, which is shorter, are summed up: it is read before the next one ends, whatever the pace
    is. So nothing waits; only row 0 of another sweep must not come before ``complete``.

    Parameters
    ----------
    blocks : int
        Most rows.
    fraction : int
        Fraction bits of a score, which has ``Numerics.max_width`` integer bits.
    exp_fraction : int
        Bits of a power below 1.

    Members
    -------
    i : In(stream)
        ``x``, a score; ``last`` of its row; ``end`` with the last one of all. Always taken.
    complete : Out(1)
        What belongs to the last row can be read from the next cycle on. It comes ``latency``
        cycles after the last score, and one more for each score of the last row.
    row : In
        Which row is read. A row's maximum is overwritten when the row comes again.
    maximum : Out
        A cycle later, its largest score.
    reciprocal : Out
        Likewise, ``r`` as of :func:`~qkloom.rtl.lane.reciprocal.reciprocal_layout`, and ``e``, from
        which ``exp_fraction`` is subtracted: no sum is below 1.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or too large.
    """

    def __init__(self, *, blocks: int, fraction: int, exp_fraction: int) -> None:
        check_count("Number of blocks", blocks)
        check_count("Fraction", fraction, most=12)
        check_count("Exp fraction", exp_fraction, most=30)
        self._blocks, self._fraction, self._exp_fraction = blocks, fraction, exp_fraction
        self._x = signed(Numerics.max_width + fraction)
        self._reciprocal = data.StructLayout(
            {"e": range(max(ceil_log2(blocks) + 1, 2)), "r": _RECIPROCAL}
        )
        score = data.StructLayout({"x": self._x, "last": 1, "end": 1})
        super().__init__(
            {
                "i": In(stream.Signature(score, always_ready=True)),
                "complete": Out(1),
                "row": In(index(blocks)),
                "maximum": Out(self._x),
                "reciprocal": Out(self._reciprocal),
            }
        )

    @property
    def latency(self) -> int:
        """Buffer, difference, power, sum, reciprocal."""
        width = self._exp_fraction + 1 + ceil_log2(self._blocks)
        # As many steps as Reciprocal has, which nobody has to make for that.
        return 2 + Exp2Table.latency + 2 + ceil_log2(max(width, 19)) + 16

    def elaborate(self, platform: object) -> Module:
        """Buffer a row; look at the one before."""
        m = Module()
        score, bits = self.i.payload, ceil_log2(self._blocks)

        # The maximum so far, and where the row is kept.
        highest = Signal(self._x, reset_less=True)
        is_first = Signal(init=1)
        column = Signal(index(self._blocks))
        bank = Signal()
        number = Signal(index(self._blocks))
        row_ends = Signal()
        m.d.comb += row_ends.eq(self.i.valid & score.last)
        with m.If(self.i.valid):
            m.d.sync += [is_first.eq(score.last), column.eq(Mux(score.last, 0, column + 1))]
            with m.If(is_first | (score.x > highest)):
                m.d.sync += highest.eq(score.x)
        with m.If(row_ends):
            m.d.sync += [bank.eq(~bank), number.eq(Mux(score.end, 0, number + 1))]
        m.submodules.buffer = buffer = Memory(shape=self._x, depth=2 << bits, init=[])
        w_port, r_port = buffer.write_port(), buffer.read_port()

        # The row that ended, read from the next cycle on: a score a cycle, and so before another
        # one ends, which is longer by one.
        reads = Signal()
        place = Signal(index(self._blocks))
        last_place = Signal(index(self._blocks), reset_less=True)
        is_last_place = Signal()
        r_bank = Signal(reset_less=True)
        r_number = Signal(index(self._blocks), reset_less=True)
        is_end = Signal(reset_less=True)
        m.d.comb += [
            w_port.en.eq(self.i.valid),
            w_port.addr.eq(Cat(column[:bits], bank)),
            w_port.data.eq(score.x),
            r_port.addr.eq(Cat(place[:bits], r_bank)),
            is_last_place.eq(place == last_place),
        ]
        with m.If(reads):
            m.d.sync += place.eq(Mux(is_last_place, 0, place + 1))
            with m.If(is_last_place):
                m.d.sync += reads.eq(0)
        with m.If(row_ends):
            m.d.sync += [
                reads.eq(1),
                last_place.eq(column),
                r_bank.eq(bank),
                r_number.eq(number),
                is_end.eq(score.end),
            ]

        # The maximum is there with the first address, and kept.
        ended = Signal()
        top = Signal(self._x, reset_less=True)
        m.d.sync += ended.eq(row_ends)
        with m.If(ended):
            m.d.sync += top.eq(highest)
        m.submodules.maxima = maxima = Memory(shape=self._x, depth=1 << bits, init=[])
        maxima_w, maxima_r = maxima.write_port(), maxima.read_port()
        m.d.comb += [
            maxima_w.en.eq(ended),
            maxima_w.addr.eq(r_number[:bits]),
            maxima_w.data.eq(highest),
            maxima_r.addr.eq(self.row[:bits]),
            self.maximum.eq(maxima_r.data),
        ]

        # A power for each; the sum in two steps, so that its carry is short.
        m.submodules.exp2 = exp2 = Exp2Table(
            fraction=self._fraction, exp_fraction=self._exp_fraction
        )
        y = Signal(len(exp2.i), reset_less=True)
        m.d.sync += y.eq(top - r_port.data)
        m.d.comb += exp2.i.eq(y)
        steps = 2 + Exp2Table.latency
        valids = Signal(steps)
        ends = Signal(steps + 2)
        m.d.sync += [
            valids.eq(Cat(reads, valids)),
            ends.eq(Cat(reads & is_last_place, ends)),
        ]
        begins = Signal(2, init=1)
        width = self._exp_fraction + 1
        low = Signal(width, reset_less=True)
        late_low = Signal(width, reset_less=True)
        carry = Signal(reset_less=True)
        added = Signal()
        high = Signal(max(bits, 1), reset_less=True)
        so_far = Signal(width)
        high_so_far = Signal(max(bits, 1))
        m.d.comb += [
            so_far.eq(Mux(begins[0], 0, low)),
            high_so_far.eq(Mux(begins[1], 0, high)),
        ]
        m.d.sync += [added.eq(valids[-1]), late_low.eq(low)]
        with m.If(valids[-1]):
            m.d.sync += [Cat(low, carry).eq(so_far + exp2.o), begins[0].eq(ends[steps - 1])]
        m.d.sync += begins[1].eq(begins[0])
        with m.If(added):
            m.d.sync += high.eq(high_so_far + carry)

        m.submodules.reciprocal = reciprocal = Reciprocal(
            sum_width=width + bits, tag=data.StructLayout({"row": index(self._blocks), "end": 1})
        )
        about: Any = reciprocal.i.payload
        m.d.comb += [
            reciprocal.i.valid.eq(ends[-1]),
            about.l.eq(Cat(late_low, high[:bits])),
            about.as_value()[width + bits :].eq(
                delayed(m, Cat(r_number, is_end), steps + 2, name="row")
            ),
        ]
        m.submodules.reciprocals = table = Memory(shape=self._reciprocal, depth=1 << bits, init=[])
        table_w, table_r = table.write_port(), table.read_port()
        told = reciprocal.o.payload
        m.d.comb += [
            table_w.en.eq(reciprocal.o.valid),
            table_w.addr.eq(told.tag.row[:bits]),
            table_w.data.e.eq((told.e - self._exp_fraction)[: len(table_w.data.e)]),
            table_w.data.r.eq(told.r),
            self.complete.eq(reciprocal.o.valid & told.tag.end),
            table_r.addr.eq(self.row[:bits]),
            self.reciprocal.eq(table_r.data),
        ]
        return m
