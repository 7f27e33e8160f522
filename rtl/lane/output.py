"""The output accumulator: sums probabilities times values, rescaling by shifts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.banks import Banks, read_port
from ..component import Component
from ..formats import Integer, ceil_log2
from ..stream._check import check_count
from .job import block_layout, check_digits, check_shape
from .tag import tag_layout

__all__ = ["OutputAccumulator"]


class OutputAccumulator(Component):
    """Sum over key tiles: ``output = rescaled output + probabilities x values``.

    The running maximum is a whole power of two, so rescaling is a right shift, rounded to nearest
    with ties up: the bit last shifted out is the carry-in of the sum. A probability of two digits
    comes as two rows, one behind the other, and is put together before it is added.

    It always accepts. A row may come again for the next key tile no sooner than 5 cycles later; a
    pass over keys lies between.

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
        """Put digits together and read; shift coarsely; shift finely; add and write."""
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

        # Stages 1 to 3 carry the tag along; the write is stage 4.
        tags, valids = [tag], [mine]
        for stage in (1, 2, 3):
            valid = Signal(name=f"valid_{stage}")
            carried = Signal(tag.shape(), name=f"tag_{stage}", reset_less=True)
            m.d.sync += [valid.eq(valids[-1]), carried.eq(tags[-1])]
            tags.append(carried)
            valids.append(valid)
        m.d.sync += [
            banks.w.en.eq(valids[3]),
            banks.w.bank.eq(tags[3].slot),
            banks.w.address.eq(address(tags[3])),
            self.complete.valid.eq(valids[3] & tags[3].complete),
            self.complete.payload.slot.eq(tags[3].slot),
            self.complete.payload.rows.eq(tags[3].row + 1),
            self.complete.payload.d_tiles.eq(tags[3].tile + 1),
        ]

        sum_width = self._product_width + self._digit_bits * (self._digits - 1) + 1
        for column in range(self._size):
            product = self.i.payload.row[column]

            def register(name: str, width: int, column: int = column) -> Signal:
                return Signal(Integer(width), name=f"{name}_{column}", reset_less=True)

            sums = [register(f"sum_{i}", sum_width) for i in (1, 2, 3)]
            if self._digits == 2:
                high = register("high", self._product_width)
                with m.If(self.i.valid):
                    m.d.sync += high.eq(product)
                m.d.sync += sums[0].eq((high << self._digit_bits) + product)
            else:
                m.d.sync += sums[0].eq(product)
            m.d.sync += [sums[1].eq(sums[0]), sums[2].eq(sums[1])]

            # One spare bit below keeps the bit shifted out last, which rounds.
            old = Signal(Integer(self._acc_width + 1), name=f"old_{column}")
            coarse, fine = (register(n, self._acc_width + 1) for n in ("coarse", "fine"))
            m.d.comb += old.eq(Mux(tags[1].first, 0, banks.r_update.data[column] << 1))
            m.d.sync += coarse.eq(old >> (tags[1].rescale[3:] << 3))
            m.d.sync += fine.eq(coarse >> tags[2].rescale[:3])
            m.d.sync += banks.w.data[column].eq((fine >> 1) + sums[2] + fine[0])
        return m
