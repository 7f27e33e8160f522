"""The score accumulator: sums the products of head_dim tiles into scores."""

from typing import ClassVar

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.banks import Banks, read_port
from ..check import check_count
from ..component import Component
from ..formats import Integer
from .job import check_shape
from .tag import tag_layout

__all__ = ["ScoreAccumulator"]


class ScoreAccumulator(Component):
    """Sum what leaves the matrix unit over the tiles of head_dim, into one of two banks of scores.

    It always accepts. A row may come again for the next tile no sooner than 3 cycles later; the
    feeder's passes are at least ``size`` cycles long, as long as a tile takes to load.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    product_width, score_width : int
        Bits of a partial sum from the array, and of a score.

    Members
    -------
    i : In(stream)
        Rows from the matrix unit; those of the second product are not for this unit.
    r : In(read_port)
        Scores, for the row unit; latency 1.
    complete : Out(stream)
        A bank whose last row has been stored; readable from the next cycle on.

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
        product_width: int,
        score_width: int,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_count("Product width", product_width)
        check_count("Score width", score_width)
        if score_width < product_width:
            raise ValueError(
                f"Score width must be at least product width {product_width}, not {score_width}"
            )
        self._shape = {"banks": 2, "depth": block_rows}
        self._scores = data.ArrayLayout(Integer(score_width), size)
        self._size = size
        tag = tag_layout(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        products = data.ArrayLayout(Integer(product_width), size)
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout({"row": products, "tag": tag}), always_ready=True
                    )
                ),
                "r": In(read_port(**self._shape, shape=self._scores)),
                "complete": Out(
                    stream.Signature(data.StructLayout({"bank": 1}), always_ready=True)
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read, add, write: one row a cycle, three cycles deep."""
        m = Module()
        m.submodules.banks = banks = Banks(**self._shape, shape=self._scores)
        wiring.connect(m, wiring.flipped(self.r), banks.r_drain)
        tag = self.i.payload.tag
        mine = Signal()
        m.d.comb += [
            mine.eq(self.i.valid & ~tag.value),
            banks.r_update.en.eq(mine & ~tag.first),
            banks.r_update.bank.eq(tag.bank),
            banks.r_update.address.eq(tag.row),
        ]
        # Stage 1: the old score arrives beside the product.
        valid_1 = Signal()
        row_1 = Signal.like(self.i.payload.row, reset_less=True)
        tag_1 = Signal.like(tag, reset_less=True)
        m.d.sync += [valid_1.eq(mine), row_1.eq(self.i.payload.row), tag_1.eq(tag)]
        # Stage 2: their sum is written.
        m.d.sync += [
            banks.w.en.eq(valid_1),
            banks.w.bank.eq(tag_1.bank),
            banks.w.address.eq(tag_1.row),
            self.complete.valid.eq(valid_1 & tag_1.complete),
            self.complete.payload.bank.eq(tag_1.bank),
        ]
        for column in range(self._size):
            old = Signal(Integer(len(banks.r_update.data[0])), name=f"old_{column}")
            m.d.comb += old.eq(Mux(tag_1.first, 0, banks.r_update.data[column]))
            m.d.sync += banks.w.data[column].eq(old + row_1[column])
        return m
