"""The score accumulator: sums the products of head_dim tiles into scores."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..buffer.port import read_port
from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from .job import check_chunk, check_shape
from .tag import tag_layout

__all__ = ["ScoreAccumulator"]


class ScoreAccumulator(Component):
    """Sum what leaves the matrix unit over the tiles of head_dim, into one of two banks of scores.

    It always accepts. A row may come again for the next tile no sooner than 3 cycles later; the
    feeder's passes are at least ``size`` cycles long, as long as a tile takes to load.

    Parameters
    ----------
    size, block_rows, head_dim, slots, row_width : int
        As of the lane.
    product_width, score_width : int
        Bits of a partial sum from the array, and of a score.
    gemm : bool
        Show whole rows, for sums of a matrix product.

    Members
    -------
    i : In(stream)
        Rows from the matrix unit; those of the second product are not for this unit.
    r : In(read_port)
        Scores, for the row unit: the address is a chunk of ``row_width`` scores (low bits) and the
        row; latency 1. Never of the bank that is being summed up.
    complete : Out(stream)
        A bank whose last row has been stored; readable from the next cycle on.
    word : Out
        With ``gemm``, the whole row of which a chunk is read.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane, or a score is narrower than a partial sum.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        slots: int,
        row_width: int,
        product_width: int,
        score_width: int,
        gemm: bool = False,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_chunk("Row width", row_width, size=size)
        check_count("Product width", product_width)
        check_count("Score width", score_width)
        if score_width < product_width:
            raise ValueError(
                f"Score width must be at least product width {product_width}, not {score_width}"
            )
        self._gemm = gemm
        self._size, self._row_width, self._score = size, row_width, Integer(score_width)
        self._row_bits, self._chunk_bits = ceil_log2(block_rows), ceil_log2(size // row_width)
        chunk = data.ArrayLayout(self._score, row_width)
        depth = 1 << self._row_bits + self._chunk_bits
        tag = tag_layout(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        products = data.ArrayLayout(Integer(product_width), size)
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout({"row": products, "tag": tag}), always_ready=True
                    )
                ),
                "r": In(read_port(banks=2, depth=depth, shape=chunk)),
                "complete": Out(
                    stream.Signature(data.StructLayout({"bank": 1}), always_ready=True)
                ),
                **({"word": Out(data.ArrayLayout(self._score, size))} if gemm else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read, add, write: one row a cycle, three cycles deep."""
        m = Module()
        tag = self.i.payload.tag
        mine = Signal()
        m.d.comb += mine.eq(self.i.valid & ~tag.value)

        # Stage 1: the old score arrives beside the product. Stage 2: their sum is written.
        valid_1 = Signal()
        row_1 = Signal.like(self.i.payload.row, reset_less=True)
        tag_1 = Signal.like(tag, reset_less=True)
        valid_2 = Signal()
        tag_2 = Signal.like(tag, reset_less=True)
        sums = Signal(data.ArrayLayout(self._score, self._size), reset_less=True)
        m.d.sync += [
            valid_1.eq(mine),
            row_1.eq(self.i.payload.row),
            tag_1.eq(tag),
            valid_2.eq(valid_1),
            tag_2.eq(tag_1),
            self.complete.valid.eq(valid_1 & tag_1.complete),
            self.complete.payload.bank.eq(tag_1.bank),
        ]

        # A memory per bank: one reader sums up, the other one drains the bank before.
        chunk, row = self.r.address[: self._chunk_bits], self.r.address[self._chunk_bits :]
        words = []
        for bank in range(2):
            memory = Memory(shape=sums.shape(), depth=1 << self._row_bits, init=[])
            m.submodules[f"bank_{bank}"] = memory
            w, r = memory.write_port(), memory.read_port()
            updates = Signal(name=f"updates_{bank}")
            m.d.comb += [
                updates.eq(mine & (tag.bank == bank)),
                r.en.eq(updates | (self.r.en & (self.r.bank == bank))),
                r.addr.eq(Mux(updates, tag.row, row)[: self._row_bits]),
                w.en.eq(valid_2 & (tag_2.bank == bank)),
                w.addr.eq(tag_2.row),
                w.data.eq(sums),
            ]
            words.append(r.data)
        for column in range(self._size):
            old = Signal(self._score, name=f"old_{column}")
            m.d.comb += old.eq(Mux(tag_1.bank, words[1][column], words[0][column]))
            m.d.sync += sums[column].eq(row_1[column] + Mux(tag_1.first, 0, old))

        # One choice out of chunks and banks together costs less than two.
        drained = Signal(self._chunk_bits + 1, reset_less=True)
        m.d.sync += drained.eq(Cat(chunk, self.r.bank))
        with m.Switch(drained):
            for number in range(2 * self._size // self._row_width):
                bank, first = divmod(number * self._row_width, self._size)
                at = number % (self._size // self._row_width) | bank << self._chunk_bits
                with m.Case(at):
                    for i in range(self._row_width):
                        m.d.comb += self.r.data[i].eq(words[bank][first + i])
        if self._gemm:
            m.d.comb += self.word.eq(Mux(drained[-1], *(word.as_value() for word in words[::-1])))
        return m
