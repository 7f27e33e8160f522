"""The matrix unit of look-up tables."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib.wiring import In, Out

from ..adder import SumTree, sum_latency
from ..component import Component
from ..delay import Delay
from ..formats import I8, Fixed, ceil_log2
from .interface import WeightStationary
from .table import (
    GROUP,
    SubsetSums,
    SubsetTable,
    TableLoader,
    sum_range,
    sum_step,
    sum_width,
)

__all__ = ["LutMatrixUnit"]

# Columns that share a register of their operands, at most: a bit of an operand reads a table of
# each, two bits of a sum per pin.
BLOCK = 16
PINS = 128

# Groups of rows whose tables are filled one after the other. With more than these there are more
# bands; each begins four cycles after the one before, which the next lower number makes up for.
GROUPS = 8


class LutColumn(Component):
    """Tables on top of each other, what fills them, and the sum of what they are read for.

    Parameters
    ----------
    groups : int
        Tables.
    planes : int
        Bits of a streaming operand.
    number : Fixed
        Stationary numbers.
    width : int
        Bits of a result.

    Members
    -------
    i : bits
        What each table is read for, a subset per plane.
    i_bank, i_subtract : In(1)
        Bank for, and whether to subtract the last plane of, the operands of the next cycle.
    i_number, i_step : bits
        As of :class:`~qkloom.rtl.matrix.table.SubsetSums`, one cycle ahead.
    i_subset, i_write : bits
        Subset and bank, and the groups, whose sum is in the tables two cycles later.
    o : Out(width)
        Sum; latency as of :func:`column_latency`.
    """

    # What the plain array's column is for compiled simulation, this one is too.
    keep_boundary: ClassVar[bool] = True

    def __init__(self, *, groups: int, planes: int, number: Fixed, width: int) -> None:
        self._groups, self._planes, self._number, self._width = groups, planes, number, width
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_bank": In(1),
                "i_subtract": In(1),
                "i_number": In(number.width),
                "i_step": In(sum_step().size),
                "i_subset": In(GROUP + 1),
                "i_write": In(groups),
                "o": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Register what steers the column: every column has copies of its own."""
        m = Module()
        number = Signal.like(self.i_number, reset_less=True)
        step = Signal.like(self.i_step, reset_less=True)
        subset = Signal.like(self.i_subset, reset_less=True)
        write = Signal.like(self.i_write, reset_less=True)
        subtract = Signal(reset_less=True)
        m.d.sync += [
            number.eq(self.i_number),
            step.eq(self.i_step),
            subset.eq(self.i_subset),
            write.eq(self.i_write),
            subtract.eq(self.i_subtract),
        ]
        m.submodules.sums = sums = SubsetSums(number=self._number)
        m.d.comb += [sums.i.eq(number), sums.i_step.eq(step)]
        width, pins = sum_width(self._number), self._planes * GROUP
        low, high = sum_range(self._number)
        m.submodules.tree = tree = SumTree(
            n=self._groups,
            low=low,
            high=high,
            width=self._width,
            planes=self._planes,
            subtracts=True,
        )
        tables = []
        for group in range(self._groups):
            m.submodules[f"table_{group}"] = table = SubsetTable(width=width, planes=self._planes)
            m.d.comb += [
                table.i.eq(self.i.word_select(group, pins)),
                table.i_bank.eq(self.i_bank),
                table.w_en.eq(write[group]),
                table.w_addr.eq(subset),
                table.w_data.eq(sums.o),
            ]
            tables.append(table.o)
        m.d.comb += [
            tree.i.eq(
                Cat(table.word_select(p, width) for p in range(self._planes) for table in tables)
            ),
            tree.i_subtract.eq(subtract),
            self.o.eq(tree.o),
        ]
        return m


class LutBlock(Component):
    """Columns side by side that share a register of their operands.

    Parameters
    ----------
    cols : int
        Columns.
    groups, planes, number, width
        As of :class:`LutColumn`.

    Members
    -------
    i : bits
        Operands, as of :class:`LutColumn`, one cycle ahead.
    i_bank, i_subtract : In(1)
        As of :class:`LutColumn`, one cycle ahead.
    i_numbers, i_step, i_subset, i_write : bits
        A row of the tile and what to do with it: three cycles later its step is done, and one more
        until the sum is in the tables.
    o : bits
        A result per column.

    Ports are plain bits, column 0 in the lowest.
    """

    def __init__(self, *, cols: int, groups: int, planes: int, number: Fixed, width: int) -> None:
        self._cols, self._number, self._width = cols, number, width
        self._column: dict[str, Any] = {
            "groups": groups,
            "planes": planes,
            "number": number,
            "width": width,
        }
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_bank": In(1),
                "i_subtract": In(1),
                "i_numbers": In(cols * number.width),
                "i_step": In(sum_step().size),
                "i_subset": In(GROUP + 1),
                "i_write": In(groups),
                "o": Out(cols * width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Register everything, and once more what belongs to the result of a step."""
        m = Module()
        late = {}
        for name in ("i", "i_bank", "i_subtract", "i_numbers", "i_step", "i_subset", "i_write"):
            port = getattr(self, name)
            late[name] = Signal.like(port, name=f"{name}_late", reset_less=True)
            m.d.sync += late[name].eq(port)
        subset = Signal.like(self.i_subset, reset_less=True)
        write = Signal.like(self.i_write, reset_less=True)
        m.d.sync += [subset.eq(late["i_subset"]), write.eq(late["i_write"])]
        for col in range(self._cols):
            m.submodules[f"column_{col}"] = column = LutColumn(**self._column)
            m.d.comb += [
                column.i.eq(late["i"]),
                column.i_bank.eq(late["i_bank"]),
                column.i_subtract.eq(late["i_subtract"]),
                column.i_number.eq(late["i_numbers"].word_select(col, self._number.width)),
                column.i_step.eq(late["i_step"]),
                column.i_subset.eq(subset),
                column.i_write.eq(write),
                self.o.word_select(col, self._width).eq(column.o),
            ]
        return m


class LutBand(Component):
    """All columns of the rows whose tables one loader fills.

    Parameters
    ----------
    cols : int
        Columns.
    groups, last_rows : int
        Groups of rows, and rows of the last of them.
    planes, number, width
        As of :class:`LutColumn`.

    Members
    -------
    i : bits
        Operands, as of :class:`LutColumn`.
    i_bank, i_subtract : In(1)
        Bank for, and whether to subtract the last plane of, the operands of the next cycle.
    i_numbers : bits
        A row of the tile.
    i_take, o_ready, o_done : 1
        As of :class:`~qkloom.rtl.matrix.table.TableLoader`.
    o : bits
        A result per column.
    latency : int
        Cycles from operands to result.
    """

    def __init__(
        self, *, cols: int, groups: int, last_rows: int, planes: int, number: Fixed, width: int
    ) -> None:
        self._cols, self._groups, self._last_rows = cols, groups, last_rows
        self._number, self._width = number, width
        self._planes = planes
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_bank": In(1),
                "i_subtract": In(1),
                "i_numbers": In(cols * number.width),
                "i_take": In(1),
                "o_ready": Out(1),
                "o_done": Out(1),
                "o": Out(cols * width),
            }
        )

    @property
    def latency(self) -> int:
        """Two registers, and the sum."""
        return 2 + sum_latency(self._groups, planes=self._planes, subtracts=True)

    def elaborate(self, platform: object) -> Module:
        """Build the loader and the blocks, which get operands two cycles later than flags.

        Flags have one register more on their way, in each column and each table.
        """
        m = Module()
        m.submodules.loader = loader = TableLoader(groups=self._groups, last_rows=self._last_rows)
        operands = Signal.like(self.i, reset_less=True)
        bank = Signal(reset_less=True)
        subtract = Signal(reset_less=True)
        m.d.sync += [operands.eq(self.i), bank.eq(self.i_bank), subtract.eq(self.i_subtract)]
        m.d.comb += [
            loader.i_take.eq(self.i_take),
            self.o_ready.eq(loader.o_ready),
            self.o_done.eq(loader.o_done),
        ]
        most = block_columns(self._number)
        for first in range(0, self._cols, most):
            cols = min(most, self._cols - first)
            numbers = slice(first * self._number.width, (first + cols) * self._number.width)
            m.submodules[f"block_{first}"] = block = LutBlock(
                cols=cols,
                groups=self._groups,
                planes=self._planes,
                number=self._number,
                width=self._width,
            )
            m.d.comb += [
                block.i.eq(operands),
                block.i_bank.eq(bank),
                block.i_subtract.eq(subtract),
                block.i_numbers.eq(self.i_numbers[numbers]),
                block.i_step.eq(loader.o_step),
                # The bank that a tile loads into is the one that is not read from now on.
                block.i_subset.eq(Cat(loader.o_subset, ~self.i_bank)),
                block.i_write.eq(loader.o_write),
                self.o[first * self._width : (first + cols) * self._width].eq(block.o),
            ]
        return m


class LutMatrixUnit(WeightStationary):
    """A matrix unit without multipliers: bits of the operands look up sums of weights.

    A product of an operand and a weight is the sum over the operand's bits of the weight, shifted.
    So four products are the sum over the bit planes of four operands of one of 16 subset sums of
    their weights. A table has them twice, for the tile in use and the next one, and is read for all
    planes of a row in one cycle; a tree adds up the tables of a column and the planes.

    A tile loads four rows in 16 cycles. Above 32 rows, several tables of a column load at once.

    Parameters
    ----------
    rows, cols, stream, stationary, mixed_signs, tag
        As of :class:`~qkloom.rtl.matrix.interface.WeightStationary`, with its members, too.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        stream: Fixed = I8,
        stationary: Fixed = I8,
        mixed_signs: bool = True,
        tag: Any = unsigned(0),  # noqa: B008 - shapes are immutable
    ) -> None:
        super().__init__(
            rows=rows,
            cols=cols,
            stream=stream,
            stationary=stationary,
            mixed_signs=mixed_signs,
            tag=tag,
        )

    @property
    def _bands(self) -> list[list[int]]:
        """Rows of each band: its groups are as far apart as there are bands."""
        groups = [
            list(range(row, min(row + GROUP, self._rows))) for row in range(0, self._rows, GROUP)
        ]
        n = 1 if len(groups) <= GROUPS else -(-len(groups) // (GROUPS - 1))
        return [[row for group in groups[band::n] for row in group] for band in range(n)]

    def _band_latency(self, rows: list[int]) -> int:
        groups = -(-len(rows) // GROUP)
        return 2 + sum_latency(groups, planes=self._stream.width, subtracts=True)

    @property
    def latency(self) -> int:
        """Cycles from a beat taken at ``i`` to its result at ``o``."""
        bands = self._bands
        last = max(map(self._band_latency, bands))
        return 1 + last + (sum_latency(len(bands)) if len(bands) > 1 else 0)

    @property
    def load_cycles(self) -> int:
        """Cycles that a tile takes to load."""
        n = len(self._bands)
        starts: list[int] = []
        ends: list[int] = []
        for first_row in range(0, self._rows, GROUP):
            group = len(starts)
            came = starts[-1] + GROUP if starts else 0
            starts.append(max(came, ends[group - n] if group >= n else 0))
            ends.append(starts[-1] + (1 << min(GROUP, self._rows - first_row)))
        return max(ends)

    def elaborate(self, platform: object) -> Module:
        """Build admission, what tells rows of the tile to bands, the bands, and their sum."""
        m = Module()
        bands, cols = self._bands, self._cols
        planes = self._stream.width
        loaded = Signal()
        room = Signal()
        admission = self._admit(m, loaded=loaded, room=room)

        # Rows of the tile go to one band after the other, a group each.
        row = Signal(range(self._rows))
        turn = Signal(len(bands), init=1)
        full = Signal()
        ready = Signal(len(bands))
        done = Signal(len(bands))
        is_last = Signal()
        m.d.comb += [
            is_last.eq(row == self._rows - 1),
            room.eq(~full & (turn & ready).any()),
            loaded.eq(full & done.all()),
        ]
        with m.If(admission.load):
            m.d.sync += row.eq(row + 1)
            if len(bands) > 1:
                with m.If(row[:2] == GROUP - 1):
                    m.d.sync += turn.eq(turn.rotate_left(1))
            with m.If(is_last):
                m.d.sync += [row.eq(0), turn.eq(1), full.eq(1)]
        with m.If(loaded):
            m.d.sync += full.eq(0)

        operands = Signal(len(Value.cast(self.i.payload.row)), reset_less=True)
        bank = Signal()
        next_bank = Signal()
        m.d.comb += next_bank.eq(bank ^ admission.swap)
        m.d.sync += [operands.eq(self.i.payload.row), bank.eq(next_bank)]

        width = self.acc_width
        if len(bands) > 1:
            width = planes + self._stationary.width + ceil_log2(max(map(len, bands))) + 1
        latest = max(map(self._band_latency, bands))
        sums = []
        for number, rows in enumerate(bands):
            groups = -(-len(rows) // GROUP)
            m.submodules[f"band_{number}"] = band = LutBand(
                cols=cols,
                groups=groups,
                last_rows=(len(rows) - 1) % GROUP + 1,
                planes=planes,
                number=self._stationary,
                width=width,
            )
            for group in range(groups):
                inside = rows[group * GROUP : (group + 1) * GROUP]
                for plane in range(planes):
                    subset = band.i.word_select(group * planes + plane, GROUP)
                    m.d.comb += subset.eq(Cat(operands[r * planes + plane] for r in inside))
            m.d.comb += [
                band.i_bank.eq(next_bank),
                band.i_subtract.eq(admission.is_signed),
                band.i_numbers.eq(self.tile.payload.row),
                band.i_take.eq(admission.load & turn[number]),
                ready[number].eq(band.o_ready),
                done[number].eq(band.o_done),
            ]
            late = Delay(width=cols * width, cycles=latest - self._band_latency(rows))
            m.submodules[f"late_{number}"] = late
            m.d.comb += late.i.eq(band.o)
            sums.append(late.o)
        if len(bands) == 1:
            result = sums[0]
        else:
            result = Signal(cols * self.acc_width)
            for col in range(cols):
                m.submodules[f"sum_{col}"] = total = SumTree(
                    n=len(bands),
                    low=-(1 << width - 1),
                    high=(1 << width - 1) - 1,
                    width=self.acc_width,
                )
                m.d.comb += [
                    total.i.eq(Cat(band.word_select(col, width) for band in sums)),
                    result.word_select(col, self.acc_width).eq(total.o),
                ]
        self._answer(m, admission.taken, result)
        return m


def block_columns(number: Fixed) -> int:
    """Return how many columns share a register of their operands."""
    return max(1, min(BLOCK, PINS // -(-sum_width(number) // 2)))
