"""The output accumulator: sums probabilities times values, rescaling by shifts."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.banks import Banks, read_port
from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2, wrap
from .job import block_layout, check_digits, check_shape
from .numerics import Numerics
from .rescale import RESCALED_SUM_STAGES, rescaled_sums
from .tag import tag_layout

__all__ = ["OutputAccumulator"]


class OutputAccumulator(Component):
    """Sum over key tiles: ``output += probabilities x values``, with a right shift of one side.

    Outputs belong to their row's running maximum, products to the maximum of their tile; see
    :data:`~qkloom.rtl.lane.rescale.RESCALE`. An output has ``Numerics.acc_guard`` bits below the
    last place of a product. A probability of two digits comes as two rows, one behind the other,
    and is put together before it is added.

    It always accepts. A row may come again for the next key tile no sooner than ``feedback`` cycles
    later; the feeder keeps passes that far apart.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    product_width, acc_width : int
        Bits of a partial sum from the array, and of an accumulated output.
    digits, digit_bits : int
        Digits of a probability, and how many bits apart they are.

    Members
    -------
    i : In(stream)
        Rows from the matrix unit; those of the first product are not for this unit.
    r : In(read_port)
        Outputs, for the normalizer: ``bank`` is the slot, ``address`` is tile and row; latency 1.
    complete : Out(stream)
        A query block whose last row has been stored; readable from the next cycle on.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane, a width is not positive, or there are not one or two
        digits.
    """

    feedback: ClassVar[int] = RESCALED_SUM_STAGES + 2
    """Least distance in cycles between a row in one step and in the next."""

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        slots: int,
        product_width: int,
        acc_width: int,
        digits: int,
        digit_bits: int,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        widths = {
            "Product width": product_width,
            "Accumulator width": acc_width,
            "Digit bits": digit_bits,
        }
        for name, value in widths.items():
            check_count(name, value)
        check_digits(digits)
        self._size, self._acc_width = size, acc_width
        self._product_width, self._digits, self._digit_bits = product_width, digits, digit_bits
        self._row_bits, self._tile_bits = ceil_log2(block_rows), ceil_log2(head_dim // size)
        self._shape = {"banks": slots, "depth": 1 << self._row_bits + self._tile_bits}
        self._outputs = data.ArrayLayout(Integer(acc_width), size)
        tag = tag_layout(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        products = data.ArrayLayout(Integer(product_width), size)
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout({"row": products, "tag": tag}), always_ready=True
                    )
                ),
                "r": In(read_port(**self._shape, shape=self._outputs)),
                "complete": Out(
                    stream.Signature(
                        block_layout(
                            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
                        ),
                        always_ready=True,
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Put digits together and read; bring both sides together; write."""
        m = Module()
        m.submodules.banks = banks = Banks(**self._shape, shape=self._outputs)
        wiring.connect(m, wiring.flipped(self.r), banks.r_drain)
        tag = self.i.payload.tag
        mine = Signal()

        def address(of: data.View) -> Cat:
            return Cat(of.row[: self._row_bits], of.tile[: self._tile_bits])

        m.d.comb += [
            mine.eq(self.i.valid & tag.value & ~tag.partial),
            banks.r_update.en.eq(mine & ~tag.first),
            banks.r_update.bank.eq(tag.slot),
            banks.r_update.address.eq(address(tag)),
        ]

        # Stage 1 has both sides, stage 4 writes their sum; the tag goes along.
        tags, valids = [tag], [mine]
        for stage in range(1, RESCALED_SUM_STAGES + 1):
            valid = Signal(name=f"valid_{stage}")
            carried = Signal(tag.shape(), name=f"tag_{stage}", reset_less=True)
            m.d.sync += [valid.eq(valids[-1]), carried.eq(tags[-1])]
            tags.append(carried)
            valids.append(valid)
        m.d.sync += [
            banks.w.en.eq(valids[-1]),
            banks.w.bank.eq(tags[-1].slot),
            banks.w.address.eq(address(tags[-1])),
            self.complete.valid.eq(valids[-1] & tags[-1].complete),
            self.complete.payload.slot.eq(tags[-1].slot),
            self.complete.payload.rows.eq(tags[-1].row + 1),
            self.complete.payload.d_tiles.eq(tags[-1].tile + 1),
        ]

        acc = Integer(self._acc_width)
        sum_width = self._product_width + self._digit_bits * (self._digits - 1) + 1
        old, new = [], []
        for column in range(self._size):
            product = self.i.payload.row[column]
            total = Signal(Integer(sum_width), name=f"sum_{column}", reset_less=True)
            if self._digits == 2:
                high = Signal(Integer(self._product_width), name=f"high_{column}", reset_less=True)
                with m.If(self.i.valid):
                    m.d.sync += high.eq(product)
                m.d.sync += total.eq((high << self._digit_bits) + product)
            else:
                m.d.sync += total.eq(product)
            old.append(Signal(acc, name=f"old_{column}"))
            new.append(Signal(acc, name=f"new_{column}"))
            m.d.comb += [
                old[-1].eq(Mux(tags[1].first, 0, banks.r_update.data[column])),
                new[-1].eq(wrap(total << Numerics.acc_guard, acc)),
            ]
        for column, output in enumerate(rescaled_sums(m, old, new, tags[1].rescale, name="output")):
            m.d.comb += banks.w.data[column].eq(output)
        return m
