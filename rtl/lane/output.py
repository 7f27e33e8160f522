"""The output accumulator: sums probabilities times values, rescaling by shifts."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2, wrap
from ..memory import memory_attributes
from .job import block_layout, check_digits, check_shape, index
from .numerics import Numerics
from .rescale import RESCALE, RESCALED_SUM_STAGES, rescaled_sum
from .tag import tag_layout

__all__ = ["OutputAccumulator", "place_layout"]


def place_layout(*, size: int, block_rows: int, head_dim: int, slots: int) -> data.StructLayout:
    """Return the layout that names ``size`` outputs of a row, side by side."""
    check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
    return data.StructLayout(
        {"slot": index(slots), "row": index(block_rows), "tile": index(head_dim // size)}
    )


class OutputAccumulator(Component):
    """Sum over key tiles: ``output += probabilities x values``, with a right shift of one side.

    Outputs belong to their row's running maximum, products to the maximum of their tile; see
    :data:`~qkloom.rtl.lane.rescale.RESCALE`. An output has ``Numerics.acc_guard`` bits below the
    last place of a product. A probability of two digits comes as two rows, one behind the other,
    and is put together before it is added. A sum is complete only every second cycle then, so that
    two columns share the hardware that shifts and adds.

    It always accepts rows. A row may come again for the next key tile no sooner than ``feedback``
    cycles later; the feeder keeps passes that far apart.

    ::

        i --> digits --> columns, in turn --> outputs of all slots --> data
                            ^                      |  ^
                            +----------------------+  +-- read

    All slots are in one memory, which has one read port: rows that need their outputs so far come
    first, ``read`` has the other cycles. These are all cycles of the first product, and with two
    digits half of those of the second.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    product_width, acc_width : int
        Bits of a partial sum from the array, and of an accumulated output.
    digits, digit_bits : int
        Digits of a probability, and how many bits apart they are.
    memory : str
        What outputs are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``, UltraRAM.
    gemm : bool
        Take sums of a matrix product, too.

    Members
    -------
    i : In(stream)
        Rows from the matrix unit; those of the first product are not for this unit.
    alone : In(1)
        With ``gemm``, the row is a whole number without a high digit.
    read : In(stream)
        What the normalizer wants: see :func:`place_layout`.
    data : Out(stream)
        Outputs, one cycle after each ``read`` was taken.
    complete : Out(stream)
        A query block whose last row has been stored; readable from the next cycle on.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane, a width is not positive, there are not one or two
        digits, or the memory is unknown.
    """

    feedback: ClassVar[int] = RESCALED_SUM_STAGES + 3
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
        memory: str = "auto",
        gemm: bool = False,
    ) -> None:
        shape = {"size": size, "block_rows": block_rows, "head_dim": head_dim, "slots": slots}
        check_shape(**shape)
        widths = {
            "Product width": product_width,
            "Accumulator width": acc_width,
            "Digit bits": digit_bits,
        }
        for name, value in widths.items():
            check_count(name, value)
        check_digits(digits)
        self._attributes = memory_attributes(memory)
        self._size, self._digits = size, digits
        self._column: dict[str, Any] = {
            "product_width": product_width,
            "acc_width": acc_width,
            "digits": digits,
            "digit_bits": digit_bits,
            "gemm": gemm,
        }
        self._gemm = gemm
        self._bits = {
            "row": ceil_log2(block_rows),
            "tile": ceil_log2(head_dim // size),
            "slot": ceil_log2(slots),
        }
        self._outputs = data.ArrayLayout(Integer(acc_width), size)
        products = data.ArrayLayout(Integer(product_width), size)
        row = data.StructLayout({"row": products, "tag": tag_layout(**shape)})
        super().__init__(
            {
                "i": In(stream.Signature(row, always_ready=True)),
                **({"alone": In(1)} if gemm else {}),
                "read": In(stream.Signature(place_layout(**shape))),
                "data": Out(stream.Signature(self._outputs, always_ready=True)),
                "complete": Out(stream.Signature(block_layout(**shape), always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row to its outputs in the memory, and to ``complete``."""
        return RESCALED_SUM_STAGES + 1 + self._digits

    def elaborate(self, platform: object) -> Module:
        """Build columns and memory; a tag goes along with each row."""
        m = Module()
        m.submodules.outputs = memory = Memory(
            shape=self._outputs,
            depth=1 << sum(self._bits.values()),
            init=[],
            attrs=self._attributes,
        )
        w, r = memory.write_port(), memory.read_port()

        def address(of: data.View) -> Value:
            return Cat(of[name][:bits] for name, bits in self._bits.items())

        # In the first cycle the outputs so far are read; in the last one the sums are written.
        tag = self.i.payload.tag
        mine = Signal()
        m.d.comb += mine.eq(self.i.valid & tag.value & ~tag.partial)
        tags, valids = [tag], [mine]
        for stage in range(1, self.latency + 1):
            valid = Signal(name=f"valid_{stage}")
            carried = Signal(tag.shape(), name=f"tag_{stage}", reset_less=True)
            m.d.sync += [valid.eq(valids[-1]), carried.eq(tags[-1])]
            tags.append(carried)
            valids.append(valid)
        updates = Signal()
        is_free = Signal(init=1)  # its inverse, at the beginning of a long path
        m.d.sync += [updates.eq(mine & ~tag.first), is_free.eq(~(mine & ~tag.first))]
        m.d.comb += [
            self.read.ready.eq(is_free),
            r.en.eq(updates | self.read.valid),
            r.addr.eq(Mux(updates, address(tags[1]), address(self.read.payload))),
            self.data.payload.eq(r.data),
            w.en.eq(valids[-1]),
            w.addr.eq(address(tags[-1])),
            self.complete.valid.eq(valids[-1] & tags[-1].complete),
            self.complete.payload.slot.eq(tags[-1].slot),
            self.complete.payload.rows.eq(tags[-1].row + 1),
            self.complete.payload.d_tiles.eq(tags[-1].tile + 1),
        ]
        m.d.sync += self.data.valid.eq(self.read.valid & self.read.ready)

        # Columns that share their hardware are neighbours; the last one may be alone.
        products = self.i.payload.row.as_value()
        n = self._digits
        for number in range(-(-self._size // n)):
            m.submodules[f"column_{number}"] = column = OutputColumn(**self._column)
            m.d.comb += [
                column.valid.eq(self.i.valid),
                column.takes.eq(mine),
                column.first.eq(tag.first),
                column.rescale.eq(tag.rescale),
                *([column.alone.eq(self.alone)] if self._gemm else []),
                column.product.eq(products.word_select(number, len(column.product))),
                column.old.eq(r.data.as_value().word_select(number, len(column.old))),
                w.data.as_value().word_select(number, len(column.updated)).eq(column.updated),
            ]
        return m


class OutputColumn(Component):
    """As many columns as there are digits, which take turns in one shifter and adder.

    Parameters
    ----------
    product_width, acc_width, digits, digit_bits, gemm
        As of :class:`OutputAccumulator`.

    Members
    -------
    valid : In(1)
        Whether there is a product.
    takes : In(1)
        Whether it completes a sum, with the digit that came before; no more often than every
        ``digits`` cycles.
    product : In
        Products of the columns.
    first, rescale : In
        Whether there is no output so far, and the shift; with ``takes``.
    alone : In(1)
        With ``gemm``, whether the product has no high digit; with ``takes``.
    old : In
        Outputs so far, two cycles after ``takes``.
    updated : Out
        Their sums, ``RESCALED_SUM_STAGES + 1 + digits`` cycles after ``takes``.

    Ports are plain bits, the first column in the lowest.
    """

    def __init__(
        self,
        *,
        product_width: int,
        acc_width: int,
        digits: int,
        digit_bits: int,
        gemm: bool = False,
    ) -> None:
        self._gemm = gemm
        self._product, self._acc = Integer(product_width), Integer(acc_width)
        self._digits, self._digit_bits = digits, digit_bits
        super().__init__(
            {
                "valid": In(1),
                "takes": In(1),
                "product": In(product_width * digits),
                "first": In(1),
                "rescale": In(RESCALE),
                **({"alone": In(1)} if gemm else {}),
                "old": In(acc_width * digits),
                "updated": Out(acc_width * digits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Put digits together; choose a column; shift and add."""
        m = Module()

        # 1: what comes has one reader each here, and many columns
        valid = Signal(name="came", reset_less=True)
        takes = Signal(name="takes_now", reset_less=True)
        product = Signal.like(self.product, name="products", reset_less=True)
        control = Signal(data.StructLayout({"first": 1, "rescale": RESCALE}), reset_less=True)
        m.d.sync += [
            valid.eq(self.valid),
            takes.eq(self.takes),
            product.eq(self.product),
            control.first.eq(self.first),
            control.rescale.eq(self.rescale),
        ]

        alone: Value = Const(0)
        if self._gemm:
            alone = Signal(name="is_alone", reset_less=True)
            m.d.sync += alone.eq(self.alone)

        # 2: sums, beside the outputs so far; the control stays for every column's turn
        old, new = [], []
        for column in range(self._digits):
            digit = Signal(self._product, name=f"digit_{column}")
            m.d.comb += digit.eq(product.word_select(column, self._product.width))
            total = self._total(m, digit, valid, alone, column)
            before = self.old.word_select(column, self._acc.width).as_signed()
            if column:  # its turn is a cycle later
                late_total = Signal.like(total, name=f"late_total_{column}", reset_less=True)
                late_before = Signal(self._acc, name=f"late_old_{column}", reset_less=True)
                m.d.sync += [late_total.eq(total), late_before.eq(before)]
                total, before = late_total, late_before
            old.append(before)
            new.append(wrap(Cat(Const(0, Numerics.acc_guard), total).as_signed(), self._acc))
        now = Signal.like(control, reset_less=True)
        with m.If(takes):
            m.d.sync += now.eq(control)
        second = Signal(reset_less=True)
        m.d.sync += second.eq(~takes)

        # 3 to 5, and 6 for the second of two columns
        shared = {"first": now.first, "turn": second if self._digits == 2 else None}
        total = rescaled_sum(m, old, new, now.rescale, **shared, name="rescaled")
        if self._digits == 2:
            early = Signal(self._acc, reset_less=True)
            m.d.sync += early.eq(total)
            total = Cat(early, total)
        m.d.comb += self.updated.eq(total)
        return m

    def _total(self, m: Module, digit: Signal, valid: Signal, alone: Value, column: int) -> Signal:
        """Return a register with the sum that a product completes."""
        width = self._product.width + self._digit_bits * (self._digits - 1) + 1
        total = Signal(Integer(width), name=f"sum_{column}", reset_less=True)
        if self._digits == 1:
            m.d.sync += total.eq(digit)
            return total
        high = Signal(self._product, name=f"high_{column}", reset_less=True)
        with m.If(valid):
            m.d.sync += high.eq(digit)
        above = Mux(alone, 0, high).as_signed() if self._gemm else high
        m.d.sync += total.eq((above << self._digit_bits) + digit)
        return total
