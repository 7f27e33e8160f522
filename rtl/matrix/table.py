"""Subset sums of stationary numbers: tables that replace products, and what fills them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..adder import TernaryAdder
from ..check import check_count
from ..component import Component
from ..formats import Fixed, Integer, wrap
from ..primitive import Primitive

__all__ = [
    "GROUP",
    "SubsetSums",
    "SubsetTable",
    "TableLoader",
    "sum_range",
    "sum_step",
    "sum_width",
]

GROUP = 4
"""Numbers whose subset sums make one table."""

SUBSETS = 1 << GROUP


def sum_range(number: Fixed) -> tuple[int, int]:
    """Return the smallest and the largest sum of a group."""
    return GROUP * number.min_raw, GROUP * number.max_raw


def sum_step() -> data.StructLayout:
    """Return what a loader tells the subset sums of every column, a cycle at a time.

    Members
    -------
    take : GROUP bits
        The number on the bus is this one of its group.
    clear : 1
        The sum becomes 0.
    step : 1
        The number ``select`` is added to the sum, or subtracted from it.
    select, subtract
        Which, and how.
    """
    return data.StructLayout({"take": GROUP, "clear": 1, "step": 1, "select": 2, "subtract": 1})


class SubsetTable(Primitive):
    """A table of the subset sums of a group, in two banks, read once per bit plane in every cycle.

    Bits of one plane of the group's streaming operands select the subset of stationary numbers that
    they are multiplied with: a dot product of four numbers by four bits, without a multiplier.

    Parameters
    ----------
    width : int
        Bits of a sum.
    planes : int
        Bit planes.

    Members
    -------
    i : In(planes * GROUP)
        The subset of each plane, plane 0 lowest.
    i_bank : In(1)
        Bank that is read in the next cycle, by all planes.
    w_en : In(1)
        Write.
    w_addr : In(GROUP + 1)
        Subset, and above it the bank.
    w_data : In(width)
        Its sum, which reads find from the next cycle on.
    o : Out(planes * width)
        The sum for each plane, in the same cycle.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, width: int, planes: int) -> None:
        check_count("Width", width)
        check_count("Number of planes", planes)
        self._width, self._planes = width, planes
        super().__init__(
            {
                "i": In(planes * GROUP),
                "i_bank": In(1),
                "w_en": In(1),
                "w_addr": In(GROUP + 1),
                "w_data": In(width),
                "o": Out(planes * width),
            }
        )

    def twin(self) -> Module:
        """Return a memory that is read without a clock."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=self._width, depth=2 * SUBSETS, init=[])
        write = memory.write_port()
        reads = [memory.read_port(domain="comb") for _ in range(self._planes)]
        bank = Signal(reset_less=True)
        m.d.sync += bank.eq(self.i_bank)
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            self.o.eq(Cat(read.data for read in reads)),
        ]
        for plane, read in enumerate(reads):
            m.d.comb += read.addr.eq(Cat(self.i.word_select(plane, GROUP), bank))
        return m


class SubsetSums(Component):
    """Make the subset sums of one group after the other, one addition a cycle.

    Subsets come in the order of a Gray code, so that each differs from the one before by one
    number. The four numbers wait in registers that take them from a bus.

    Parameters
    ----------
    number : Fixed
        The numbers.

    Members
    -------
    i : In(number.width)
        Bus.
    i_step : bits
        A :func:`sum_step`: whatever it says has happened one cycle later.
    o : Out
        The sum.
    """

    def __init__(self, *, number: Fixed) -> None:
        self._number = number
        super().__init__(
            {
                "i": In(number.width),
                "i_step": In(sum_step().size),
                "o": Out(sum_width(number)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the registers, the choice between them, and the adder."""
        m = Module()
        width = sum_width(self._number)
        step = data.View(sum_step(), self.i_step)
        chosen = Signal(width - 2)
        numbers = [Signal(width - 2, name=f"number_{k}", reset_less=True) for k in range(GROUP)]
        for number, take in zip(numbers, step.take, strict=True):
            with m.If(take):
                m.d.sync += number.eq(self.i)
        with m.Switch(step.select):
            for k, number in enumerate(numbers):
                with m.Case(k):
                    m.d.comb += chosen.eq(number)
        total = Signal(width, reset_less=True)
        m.submodules.add = add = TernaryAdder(width=width, n=2, subtracts=True)
        addend = wrap(self._number(chosen), Integer(width, is_signed=False))
        m.d.comb += [
            add.i.eq(Cat(total, addend)),
            add.i_subtract.eq(step.subtract),
            self.o.eq(total),
        ]
        with m.If(step.clear):
            m.d.sync += total.eq(0)
        with m.Elif(step.step):
            m.d.sync += total.eq(add.o)
        return m


class TableLoader(Component):
    """Tell the subset sums of all columns what to do, and their tables when to take a sum.

    A group takes 16 cycles from its first row on. Each of the other rows may come a cycle after the
    one before, or later, as long as its number is not needed: that is in steps 2, 4 and 8.

    Parameters
    ----------
    groups : int
        Groups of a tile.
    last_rows : int
        Rows of the last group; with fewer than 4 it takes 2, 4 or 8 cycles.

    Members
    -------
    i_take : In(1)
        The next row of the tile is on the bus.
    o_ready : Out(1)
        It may come.
    o_done : Out(1)
        All steps are done after this cycle, if no row comes in it.
    o_step : bits
        A :func:`sum_step` for this cycle.
    o_subset : Out(GROUP)
        Whose sum is complete one cycle after the step.
    o_write : Out(groups)
        Whether it is one of this group.
    """

    def __init__(self, *, groups: int, last_rows: int = GROUP) -> None:
        check_count("Number of groups", groups)
        check_count("Number of rows of the last group", last_rows, most=GROUP)
        self._groups, self._last_rows = groups, last_rows
        super().__init__(
            {
                "i_take": In(1),
                "o_ready": Out(1),
                "o_done": Out(1),
                "o_step": Out(sum_step().size),
                "o_subset": Out(GROUP),
                "o_write": Out(groups),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count steps, rows and groups."""
        m = Module()
        step = Signal(GROUP)
        held = Signal(GROUP)  # rows that came, the first one in the lowest bit
        room = Signal(init=1)  # for another one
        group = Signal(self._groups, init=1)
        enough = Signal()
        goes = Signal()
        ends = Signal()
        with m.If(step[3]):
            m.d.comb += enough.eq(held[3])
        with m.Elif(step[2]):
            m.d.comb += enough.eq(held[2])
        with m.Elif(step[1]):
            m.d.comb += enough.eq(held[1])
        with m.Else():
            m.d.comb += enough.eq(step[0])  # step 0 is for the row that comes
        last_step = (1 << self._last_rows) - 1
        m.d.comb += [
            goes.eq(enough | (self.i_take & (step == 0))),
            # All rows that the last step needs were needed before.
            ends.eq(Mux(group[-1], step == last_step, step.all())),
            self.o_ready.eq(room),
            self.o_done.eq(ends | (step == 0)),
        ]
        with m.If(goes):
            # Not step + 1, as the tools' adder would lengthen paths that only compare.
            m.d.sync += step.eq(step ^ Cat(1, step[0], step[:2].all(), step[:3].all()))
        with m.If(self.i_take):
            m.d.sync += [held.eq(Cat(1, held)), room.eq(~held[-2])]
        with m.If(ends):
            m.d.sync += [step.eq(0), held.eq(0), room.eq(1), group.eq(group.rotate_left(1))]
        out = data.View(sum_step(), self.o_step)
        m.d.comb += [
            out.take.eq(Cat(1, held) & ~held & self.i_take.replicate(GROUP)),
            out.clear.eq(step == 0),
            out.step.eq(goes),
            out.select.eq(Mux(step[0], 0, Mux(step[1], 1, Mux(step[2], 2, 3)))),
            # Bit k of the Gray code of a step is bit k of the step, xor the one above.
            self.o_subset.eq(step ^ step[1:]),
            self.o_write.eq(group & goes.replicate(self._groups)),
        ]
        # Going from step - 1 to step flips the lowest bit that is 1 in step: to 0 if the one above
        # is 1 too.
        with m.If(step[0]):
            m.d.comb += out.subtract.eq(step[1])
        with m.Elif(step[1]):
            m.d.comb += out.subtract.eq(step[2])
        with m.Elif(step[2]):
            m.d.comb += out.subtract.eq(step[3])
        return m


def sum_width(number: Fixed) -> int:
    """Return the bits of a subset sum."""
    return number.width + 2
