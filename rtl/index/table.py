"""What rows have in blocks, until it is known how much they have in all."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..lane.numerics import Numerics
from ..lane.place import row_layout
from ..lane.reciprocal import reciprocal_layout
from ..memory import memory_attributes
from .partial import partial_layout
from .score_sum import score_sum_layout
from .weigh import row_state_layout, weigh_layout

__all__ = ["PartialTable"]


class PartialTable(Component):
    """Keep a head's partial sums, ``rows`` rows to a word, and what belongs to rows and to blocks.

    Parameters
    ----------
    rows : int
        Rows of a word, a power of two.
    block : int
        Most rows; a power of two, and more than ``rows``.
    blocks : int
        Most blocks.
    slots : int
        Of the lane.
    sum_width, score_sum_width : int
        Bits of a partial sum, and of a sum of scores.
    memory : str
        What partial sums are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``, UltraRAM.

    Members
    -------
    partials, reciprocals, sums : In(stream)
        Rows of a block; reciprocals of the rows; scores of a block. In order, always taken.
    complete : Out(1)
        The last reciprocal has come: all can be read.
    last_row, last_block : Out
        Of the head that is complete.
    block, group : In
        What is read: ``group`` is a word of rows.
    word : Out
        A cycle later, :func:`~qkloom.rtl.index.weigh.weigh_layout` but for its flags.
    block_sum : Out
        Likewise, :func:`~qkloom.rtl.index.score_sum.score_sum_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or no power of two where it must be.
    """

    def __init__(
        self,
        *,
        rows: int,
        block: int,
        blocks: int,
        slots: int,
        sum_width: int,
        score_sum_width: int,
        memory: str = "auto",
    ) -> None:
        for name, value in (("Rows", rows), ("Block", block), ("Blocks", blocks)):
            check_count(name, value)
        for name, value in (("Rows", rows), ("Block", block)):
            if value & value - 1:
                raise ValueError(f"{name} must be a power of two, not {value}")
        if block <= rows:
            raise ValueError(f"Block must be above rows {rows}, not {block}")
        check_count("Slots", slots)
        check_count("Sum width", sum_width)
        check_count("Score sum width", score_sum_width)
        self._attributes = memory_attributes(memory)
        self._rows, self._block, self._blocks = rows, block, blocks
        recip = reciprocal_layout(row_layout(block_rows=block, slots=slots))
        partial = partial_layout(block=block, sum_width=sum_width)
        sums = score_sum_layout(block=block, sum_width=score_sum_width)
        super().__init__(
            {
                "partials": In(stream.Signature(partial, always_ready=True)),
                "reciprocals": In(stream.Signature(recip, always_ready=True)),
                "sums": In(stream.Signature(sums, always_ready=True)),
                "complete": Out(1),
                "last_row": Out(index(block)),
                "last_block": Out(index(blocks)),
                "block": In(index(blocks)),
                "group": In(index(block // rows)),
                "word": Out(weigh_layout(rows=rows, sum_width=sum_width)),
                "block_sum": Out(sums),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count blocks as they come; build a memory for each row of a word."""
        m = Module()
        # Memories are large, and far away: what comes is taken a cycle later.
        came, recip = Signal.like(self.partials.payload, reset_less=True), self.reciprocals.payload
        has_come = Signal()
        m.d.sync += [came.eq(self.partials.payload), has_come.eq(self.partials.valid)]
        group_bits, row_bits = ceil_log2(self._block // self._rows), ceil_log2(self._rows)
        block_bits = ceil_log2(self._blocks)
        written = Signal(index(self._blocks))
        summed = Signal(index(self._blocks))
        is_counted = Signal()  # rows and blocks are known
        with m.If(self.complete):
            m.d.sync += is_counted.eq(0)
        with m.If(has_come & came.row_last):
            m.d.sync += written.eq(Mux(came.last, 0, written + 1))
            with m.If(came.last):
                m.d.sync += [
                    self.last_row.eq(came.row),
                    self.last_block.eq(written),
                    is_counted.eq(1),
                ]
        m.d.sync += self.complete.eq(
            self.reciprocals.valid & is_counted & (recip.tag.row == self.last_row)
        )

        state = row_state_layout()
        of_maximum = data.StructLayout({"maximum": signed(Numerics.max_width), "carry": 1})
        of_sum = data.StructLayout({name: state[name].shape for name in ("e", "r")})
        for i in range(self._rows):
            partial, row = self.word.partials[i], self.word.states[i]
            tables = {
                "partial": Memory(
                    shape=partial.shape(),
                    depth=1 << group_bits + block_bits,
                    init=[],
                    attrs=self._attributes,
                ),
                "maximum": Memory(shape=of_maximum, depth=1 << group_bits, init=[]),
                "sum": Memory(shape=of_sum, depth=1 << group_bits, init=[]),
            }
            ports = {}
            for name, table in tables.items():
                m.submodules[f"{name}_{i}"] = table
                ports[name] = table.write_port(), table.read_port()
            is_mine = Signal(name=f"is_row_{i}")
            m.d.comb += is_mine.eq(has_come & (came.row[:row_bits] == i))

            w, r = ports["partial"]
            m.d.comb += [
                w.en.eq(is_mine),
                w.addr.eq(Cat(came.row[row_bits:], written[:block_bits])),
                w.data.maximum.eq(came.maximum.as_signed()),
                w.data.all.eq(came.all),
                w.data.far.eq(came.far),
                r.addr.eq(Cat(self.group[:group_bits], self.block[:block_bits])),
                partial.eq(r.data),
            ]
            w, r = ports["maximum"]
            m.d.comb += [
                w.en.eq(is_mine & came.last),
                w.addr.eq(came.row[row_bits:]),
                w.data.maximum.eq(came.maximum.as_signed()),
                w.data.carry.eq(came.carry),
                r.addr.eq(self.group),
                row.maximum.eq(r.data.maximum),
                row.carry.eq(r.data.carry),
            ]
            w, r = ports["sum"]
            m.d.comb += [
                w.en.eq(self.reciprocals.valid & (recip.tag.row[:row_bits] == i)),
                w.addr.eq(recip.tag.row[row_bits:]),
                w.data.e.eq(recip.e),
                w.data.r.eq(recip.r),
                r.addr.eq(self.group),
                row.e.eq(r.data.e),
                row.r.eq(r.data.r),
            ]

        # Sums of scores come a little before the rows' last sums.
        m.submodules.scores = scores = Memory(
            shape=self.block_sum.shape(), depth=1 << block_bits, init=[]
        )
        w, r = scores.write_port(), scores.read_port()
        with m.If(self.sums.valid):
            m.d.sync += summed.eq(summed + 1)
        with m.If(self.complete):
            m.d.sync += summed.eq(0)
        m.d.comb += [
            w.en.eq(self.sums.valid),
            w.addr.eq(summed),
            w.data.eq(self.sums.payload),
            r.addr.eq(self.block),
            self.block_sum.eq(r.data),
        ]
        return m
