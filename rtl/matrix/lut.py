"""The matrix unit of look-up tables."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib.wiring import In, Out

from ..adder import SumTree, TernaryAdder, sum_latency
from ..component import Component
from ..delay import Delay
from ..formats import I8, Fixed, Integer, ceil_log2, wrap
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


class PlaneSum(Component):
    """Add up bit planes that come one after the other, the heaviest one first.

    Parameters
    ----------
    i_width, width : int
        Bits of the sum of a plane, and of all.

    Members
    -------
    i : In(i_width)
        Sum of a plane.
    i_subtract : In(1)
        It is subtracted.
    i_clear : In(1)
        It is the last plane of a row, or none.
    o : Out(width)
        Sum of the planes so far, one cycle later.
    """

    def __init__(self, *, i_width: int, width: int) -> None:
        self._width = width
        super().__init__({"i": In(i_width), "i_subtract": In(1), "i_clear": In(1), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Build Horner's rule: double, and add."""
        m = Module()
        before = Signal(self._width, reset_less=True)
        total = Signal(self._width, reset_less=True)
        m.submodules.add = add = TernaryAdder(width=self._width, n=2, subtracts=True)
        plane = wrap(self.i.as_signed(), Integer(self._width, is_signed=False))
        m.d.comb += [
            add.i.eq(Cat((before << 1)[: self._width], plane)),
            add.i_subtract.eq(self.i_subtract),
            self.o.eq(total),
        ]
        m.d.sync += [total.eq(add.o), before.eq(Mux(self.i_clear, 0, add.o))]
        return m


class LutColumn(Component):
    """Tables on top of each other, what fills them, and the sum of what they are read for.

    Parameters
    ----------
    groups : int
        Tables.
    planes : int
        Bits of a streaming operand that come at once.
    serial : bool
        Whether operands come in one plane after the other; ``planes`` is 1 then.
    number : Fixed
        Stationary numbers.
    width : int
        Bits of a result.

    Members
    -------
    i : bits
        What each table is read for, a subset per plane.
    i_bank : In(1)
        Bank for the operands of the next cycle.
    i_flags : bits
        Whether to subtract the last plane of these operands. In series: ``i_subtract`` and
        ``i_clear`` of :class:`PlaneSum`, one cycle ahead of the sum.
    i_number, i_step : bits
        As of :class:`~qkloom.rtl.matrix.table.SubsetSums`, one cycle ahead.
    i_subset, i_write : bits
        Subset and bank, and the groups, whose sum is in the tables two cycles later.
    o : Out(width)
        Sum of what was read, :func:`column_latency` cycles before.
    """

    # What the plain array's column is for compiled simulation, this one is too.
    keep_boundary: ClassVar[bool] = True

    def __init__(
        self, *, groups: int, planes: int, serial: bool, number: Fixed, width: int
    ) -> None:
        self._groups, self._planes, self._number, self._width = groups, planes, number, width
        self._serial = serial
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_bank": In(1),
                "i_flags": In(1 + serial),
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
        flags = Signal.like(self.i_flags, reset_less=True)
        m.d.sync += [
            number.eq(self.i_number),
            step.eq(self.i_step),
            subset.eq(self.i_subset),
            write.eq(self.i_write),
            flags.eq(self.i_flags),
        ]
        m.submodules.sums = sums = SubsetSums(number=self._number)
        m.d.comb += [sums.i.eq(number), sums.i_step.eq(step)]
        width, pins = sum_width(self._number), self._planes * GROUP
        low, high = sum_range(self._number)
        m.submodules.tree = tree = SumTree(
            n=self._groups,
            low=low,
            high=high,
            # Room for the sign of unsigned sums.
            width=width + ceil_log2(self._groups) + 1 if self._serial else self._width,
            planes=self._planes,
            subtracts=not self._serial,
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
        ]
        if self._serial:
            m.submodules.planes = total = PlaneSum(i_width=len(tree.o), width=self._width)
            m.d.comb += [
                total.i.eq(tree.o),
                total.i_subtract.eq(flags[0]),
                total.i_clear.eq(flags[1]),
                self.o.eq(total.o),
            ]
        else:
            m.d.comb += [tree.i_subtract.eq(flags), self.o.eq(tree.o)]
        return m


class LutBlock(Component):
    """Columns side by side that share a register of their operands.

    Parameters
    ----------
    cols : int
        Columns.
    groups, planes, serial, number, width
        As of :class:`LutColumn`.

    Members
    -------
    i : bits
        Operands, as of :class:`LutColumn`, one cycle ahead.
    i_bank, i_flags : bits
        As of :class:`LutColumn`, one cycle ahead.
    i_numbers, i_step, i_subset, i_write : bits
        A row of the tile and what to do with it: three cycles later its step is done, and one more
        until the sum is in the tables.
    o : bits
        A result per column.

    Ports are plain bits, column 0 in the lowest.
    """

    def __init__(
        self, *, cols: int, groups: int, planes: int, serial: bool, number: Fixed, width: int
    ) -> None:
        self._cols, self._number, self._width = cols, number, width
        self._column: dict[str, Any] = {
            "groups": groups,
            "planes": planes,
            "serial": serial,
            "number": number,
            "width": width,
        }
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_bank": In(1),
                "i_flags": In(1 + serial),
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
        for name, member in self.signature.members.items():
            if member.flow == In:
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
                column.i_flags.eq(late["i_flags"]),
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
    planes : int
        Bits of a streaming operand.
    serial, number, width
        As of :class:`LutColumn`.

    Members
    -------
    i : bits
        Operands: for each group, the subset of each plane.
    i_plane : bits
        In series: the plane that is looked at now.
    i_bank : In(1)
        Bank for the operands of the next cycle.
    i_flags : bits
        Whether to subtract their last plane, or the only one; in series, and above that, whether it
        is the last of its row, or none.
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
        self,
        *,
        cols: int,
        groups: int,
        last_rows: int,
        planes: int,
        serial: bool,
        number: Fixed,
        width: int,
    ) -> None:
        self._cols, self._groups, self._last_rows = cols, groups, last_rows
        self._number, self._width = number, width
        self._planes, self._serial = planes, serial
        super().__init__(
            {
                "i": In(groups * planes * GROUP),
                "i_plane": In(ceil_log2(planes) if serial else 0),
                "i_bank": In(1),
                "i_flags": In(1 + serial),
                "i_numbers": In(cols * number.width),
                "i_take": In(1),
                "o_ready": Out(1),
                "o_done": Out(1),
                "o": Out(cols * width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the loader and the blocks, which get operands one cycle later than flags.

        Flags have one register more on their way, in each column and each table.
        """
        m = Module()
        m.submodules.loader = loader = TableLoader(groups=self._groups, last_rows=self._last_rows)
        pins = self._planes * GROUP
        subsets: Value = self.i
        if self._serial:
            groups = [self.i.word_select(group, pins) for group in range(self._groups)]
            subsets = Cat(group.word_select(self.i_plane, GROUP) for group in groups)
        operands = Signal(len(subsets), reset_less=True)
        bank = Signal(reset_less=True)
        flags = Signal.like(self.i_flags, reset_less=True)
        m.d.sync += [operands.eq(subsets), bank.eq(self.i_bank)]
        m.d.comb += [
            loader.i_take.eq(self.i_take),
            self.o_ready.eq(loader.o_ready),
            self.o_done.eq(loader.o_done),
        ]
        if self._serial:
            m.submodules.flag_delay = delay = Delay(width=2, cycles=1 + sum_latency(self._groups))
            m.d.comb += [delay.i.eq(self.i_flags), flags.eq(delay.o)]
        else:
            m.d.sync += flags.eq(self.i_flags)
        most = block_columns(self._number)
        for first in range(0, self._cols, most):
            cols = min(most, self._cols - first)
            numbers = slice(first * self._number.width, (first + cols) * self._number.width)
            m.submodules[f"block_{first}"] = block = LutBlock(
                cols=cols,
                groups=self._groups,
                planes=1 if self._serial else self._planes,
                serial=self._serial,
                number=self._number,
                width=self._width,
            )
            m.d.comb += [
                block.i.eq(operands),
                block.i_bank.eq(bank),
                block.i_flags.eq(flags),
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

    In series, a table is read for one plane per cycle, the heaviest one first, and operands may
    have fewer bits under some tiles than under others. It takes a fifth of the tables and adders.

    Parameters
    ----------
    rows, cols, stream, stationary, mixed_signs, tag
        As of :class:`~qkloom.rtl.matrix.interface.WeightStationary`, with its members, too.
    planes : str
        ``"parallel"``: a row takes one cycle. ``"serial"``: as many as its operands have bits.

    Members
    -------
    tile : In(stream)
        In series also ``planes``, equal in all beats: bits of the operands that stream under this
        tile, 1 to those of ``stream``. They are the low bits of what streams.
    i : In(stream)
        In series a row is taken in the cycle of its last plane.

    Raises
    ------
    TypeError, ValueError
        When a parameter is of the wrong kind or out of range.
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
        planes: str = "parallel",
    ) -> None:
        if planes not in ("parallel", "serial"):
            raise ValueError(f"Planes must be parallel or serial, not {planes!r}")
        self._serial = planes == "serial"
        super().__init__(
            rows=rows,
            cols=cols,
            stream=stream,
            stationary=stationary,
            mixed_signs=mixed_signs,
            tag=tag,
            more={"planes": stream.width.bit_length()} if self._serial else None,
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
        return 2 + column_latency(-(-len(rows) // GROUP), self._stream.width, self._serial)

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
        is_last_plane = Signal(init=1)
        admission = self._admit(m, loaded=loaded, room=room, room_for_rows=is_last_plane)
        # Rows of the tile go to one band after the other, a group each.
        row = Signal(range(self._rows))
        turn = Signal(len(bands), init=1)
        is_open = Signal(init=1)  # rows of the tile are yet to come
        ready = Signal(len(bands))
        done = Signal(len(bands))
        is_last = Signal()
        m.d.comb += [
            is_last.eq(row == self._rows - 1),
            room.eq(is_open & (turn & ready).any()),
            loaded.eq(~is_open & done.all()),
        ]
        with m.If(admission.load):
            m.d.sync += row.eq(row + 1)
            if len(bands) > 1:
                with m.If(row[:2] == GROUP - 1):
                    m.d.sync += turn.eq(turn.rotate_left(1))
            with m.If(is_last):
                m.d.sync += [row.eq(0), turn.eq(1), is_open.eq(0)]
        with m.If(loaded):
            m.d.sync += is_open.eq(1)

        operands = Signal(len(Value.cast(self.i.payload.row)), reset_less=True)
        bank = Signal()
        next_bank = Signal()
        subtract = Signal()
        clear = Signal()
        plane = Signal(range(planes), reset_less=True)
        m.d.sync += [operands.eq(self.i.payload.row), bank.eq(bank ^ admission.swap)]
        if self._serial:
            is_first = Signal(init=1)
            at = Signal.like(plane)
            following = Signal.like(plane, reset_less=True)
            bits = Signal.like(self.tile.payload.planes, reset_less=True)
            next_bits = Signal.like(self.tile.payload.planes, reset_less=True)
            offered = Signal()
            m.d.comb += [
                offered.eq(admission.offered),
                at.eq(Mux(is_first, Mux(self.i.payload.new_tile, next_bits, bits) - 1, following)),
                is_last_plane.eq(at == 0),
                # From its first plane on, while the tile above is complete and nothing loads.
                next_bank.eq(bank ^ (offered & self.i.payload.new_tile)),
                subtract.eq(is_first & admission.is_signed),
                clear.eq(~offered | is_last_plane),
            ]
            m.d.sync += plane.eq(at)
            with m.If(offered):
                m.d.sync += [following.eq(at - 1), is_first.eq(is_last_plane)]
            with m.If(admission.load):
                m.d.sync += next_bits.eq(self.tile.payload.planes)
            with m.If(admission.swap):
                m.d.sync += bits.eq(next_bits)
        else:
            m.d.comb += [
                is_last_plane.eq(1),
                next_bank.eq(bank ^ admission.swap),
                subtract.eq(admission.is_signed),
            ]

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
                serial=self._serial,
                number=self._stationary,
                width=width,
            )
            for group in range(groups):
                inside = rows[group * GROUP : (group + 1) * GROUP]
                for bit in range(planes):
                    subset = band.i.word_select(group * planes + bit, GROUP)
                    m.d.comb += subset.eq(Cat(operands[r * planes + bit] for r in inside))
            m.d.comb += [
                band.i_bank.eq(next_bank),
                band.i_plane.eq(plane[: len(band.i_plane)]),
                band.i_flags.eq(Cat(subtract, clear)[: len(band.i_flags)]),
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


def column_latency(groups: int, planes: int, serial: bool) -> int:
    """Return the cycles that a column takes from its operands to their result."""
    if serial:
        return sum_latency(groups) + 1
    return sum_latency(groups, planes=planes, subtracts=True)
