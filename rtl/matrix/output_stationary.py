"""The output-stationary matrix unit."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..delay import Delay, Skew
from ..formats import I8, Fixed, Integer, NumberFormat, ceil_log2
from ..stream import Queue
from .element import MULTIPLIERS, OutputElement, check_multiplier, output_token
from .interface import MOST, check_integer
from .stationary import GROUP

__all__ = ["OutputStationary"]

SELECTED = 16
"""Bits of a sum that are selected together; each drives eight pins of the row's number."""

QUEUED = 96
"""Bits of sums that share the pointers of an output queue: each is the pin of a clock enable."""


class SumSelector(Component):
    """Pick the one sum of a column that is complete: neighbours finish one cycle after each other.

    Parameters
    ----------
    rows : int
        Sums.
    width : int
        Bits of each.

    Members
    -------
    i : In(width * rows)
        The sums, that of row 0 lowest.
    i_starts : In(1)
        The sum of row 0 is complete in the next cycle.
    o : Out(width)
        The sum that was complete in the cycle before; 0 if none was.
    """

    def __init__(self, *, rows: int, width: int) -> None:
        self._rows = rows
        super().__init__({"i": In(width * rows), "i_starts": In(1), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Count rows: a number selects with half the LUTs that a flag per row takes."""
        m = Module()
        row = Signal(range(self._rows), reset_less=True)
        is_complete = Signal(reset_less=True)
        with m.If(self.i_starts):
            m.d.sync += [row.eq(0), is_complete.eq(1)]
        with m.Elif(row == self._rows - 1):
            m.d.sync += is_complete.eq(0)
        with m.Else():
            m.d.sync += row.eq(row + 1)
        bus = Signal.like(self.o, reset_less=True)
        m.d.sync += bus.eq(Mux(is_complete, self.i.word_select(row, len(bus)), 0))
        m.d.comb += self.o.eq(bus)
        return m


class OutputColumn(Component):
    """Processing elements on top of each other, the registers around them, and their column bus.

    Parameters
    ----------
    rows : int
        Elements.
    a, b : NumberFormat
        Operands.
    sum_width : int
        Bits of a sum.
    multiplier : str
        As of :class:`~qkloom.rtl.matrix.element.OutputElement`.

    Members
    -------
    i, o : bits
        An output_token per row, from the left, and to the right one cycle later.
    i_b, o_b : bits
        Operands from above, and downwards ``rows`` cycles later.
    o_sum : bits
        Each element's sum, one cycle after it is complete; 0 if none was.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self, *, rows: int, a: NumberFormat, b: NumberFormat, sum_width: int, multiplier: str
    ) -> None:
        self._rows, self._multiplier = rows, multiplier
        self._element: dict[str, Any] = {
            "a": a,
            "b": b,
            "sum_width": sum_width,
            "multiplier": multiplier,
        }
        self._b_width = b.width
        self._tokens = data.ArrayLayout(output_token(a), rows)
        super().__init__(
            {
                "i": In(self._tokens.size),
                "o": Out(self._tokens.size),
                "i_b": In(b.width),
                "o_b": Out(b.width),
                "o_sum": Out(sum_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Pick the one sum that is complete."""
        m = Module()
        tokens = Signal.like(self.i, reset_less=True)
        operands = Signal(self._b_width * self._rows, reset_less=True)
        m.d.sync += [tokens.eq(self.i), operands.eq(Cat(self.i_b, operands))]
        view = data.View(self._tokens, tokens)
        sums: list[Value] = []
        for row, token in enumerate(view):
            m.submodules[f"element_{row}"] = element = OutputElement(**self._element)
            m.d.comb += [
                element.i.eq(token),
                element.i_b.eq(operands.word_select(row, self._b_width)),
            ]
            sums.append(element.o_sum)
        m.d.comb += [self.o.eq(tokens), self.o_b.eq(operands[-self._b_width :])]
        if self._multiplier == "plain":
            self._gather(m, view, sums)
        else:
            self._select(m, view, sums)
        return m

    def _gather(self, m: Module, tokens: Any, sums: list[Value]) -> None:
        """Keep a flag per row: its sum is complete."""
        bus = Signal.like(self.o_sum, reset_less=True)
        complete: list[Value] = []
        for row, token in enumerate(tokens):
            done = Signal(name=f"done_{row}", reset_less=True)
            m.d.sync += done.eq(token.valid & token.last)
            complete.append(Mux(done, sums[row], 0))
        m.d.sync += bus.eq(reduce(or_, complete))
        m.d.comb += self.o_sum.eq(bus)

    def _select(self, m: Module, tokens: Any, sums: list[Value]) -> None:
        """Keep the number of the row whose sum is complete, once for some of its bits."""
        starts: Value = tokens[0].valid & tokens[0].last
        # Sums are complete one cycle later than those that are gathered above.
        later = Signal(reset_less=True)
        m.d.sync += later.eq(starts)
        for low in range(0, len(self.o_sum), SELECTED):
            width = min(SELECTED, len(self.o_sum) - low)
            m.submodules[f"select_{low}"] = select = SumSelector(rows=self._rows, width=width)
            m.d.comb += [
                select.i.eq(Cat(total[low : low + width] for total in sums)),
                select.i_starts.eq(later),
                self.o_sum[low : low + width].eq(select.o),
            ]


class OutputGroup(Component):
    """Columns side by side.

    Parameters
    ----------
    rows, cols : int
        Elements.
    a, b, sum_width, multiplier
        As of :class:`OutputColumn`.

    Members
    -------
    i, o : bits
        An output_token per row, from the left and to the right; latency ``cols`` cycles.
    i_b, o_b : bits
        An operand per column, from above and downwards; latency ``rows`` cycles.
    o_sum : bits
        A sum per column.

    Ports are plain bits, row or column 0 in the lowest.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        a: NumberFormat,
        b: NumberFormat,
        sum_width: int,
        multiplier: str,
    ) -> None:
        self._cols = cols
        self._column: dict[str, Any] = {
            "rows": rows,
            "a": a,
            "b": b,
            "sum_width": sum_width,
            "multiplier": multiplier,
        }
        self._b_width, self._sum_width = b.width, sum_width
        tokens_width = output_token(a).size * rows
        super().__init__(
            {
                "i": In(tokens_width),
                "o": Out(tokens_width),
                "i_b": In(b.width * cols),
                "o_b": Out(b.width * cols),
                "o_sum": Out(sum_width * cols),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect each column with its left neighbour."""
        m = Module()
        tokens = self.i
        for col in range(self._cols):
            m.submodules[f"column_{col}"] = column = OutputColumn(**self._column)
            m.d.comb += [
                column.i.eq(tokens),
                column.i_b.eq(self.i_b.word_select(col, self._b_width)),
                self.o_b.word_select(col, self._b_width).eq(column.o_b),
                self.o_sum.word_select(col, self._sum_width).eq(column.o_sum),
            ]
            tokens = column.o
        m.d.comb += self.o.eq(tokens)
        return m


class OutputStationary(Component):
    """Multiply two streaming matrices: each fold gives ``rows`` x ``cols`` sums of products.

    Beat k of a fold brings column k of the left matrix and row k of the right one. Left operands
    move right, right operands move down, one element per cycle. Element (r, c) completes its sum
    one cycle after element (r - 1, c): so a column delivers one row per cycle over a bus, elements
    need no register to drain into, and the next fold's products may follow at once. One fold per
    ``max(beats, rows)`` cycles.

    ::

        i_a --> join --> skew, flags -->  element (0,0) ... -> (0,c)
                 ^                           v                   v
        i_b -----+-----> skew ----------> (from above)           :
                                          element (r,0) ... -> (r,c)
                                             v                   v
                                          column buses: one register per group of rows, OR
                                             v                   v
                                          deskew --> queues --> o

    Nothing in the array can stall. The last beat of a fold waits until the output queue has room
    for all rows of the fold; all other beats are taken as soon as both operands are there.

    Parameters
    ----------
    rows, cols : int
        Elements.
    a, b : Fixed
        Left and right operand.
    depth : int
        Longest fold, in beats. It decides the width of a sum; nothing checks it while running.
    acc_width : int, optional
        Bits of a sum, signed; by default the least that ``depth`` products cannot overflow.
    queue : int, optional
        Rows that the output queue holds; by default the least that never slows the array down.
    multiplier : str
        ``plain``: a ``*`` in each element, for the synthesis tool. ``lut``: Booth products and
        sums of look-up tables; one cycle more of latency.

    Members
    -------
    i_a : In(stream)
        ``row``: one left operand per row of the array, ``last``: last beat of a fold.
    i_b : In(stream)
        ``row``: one right operand per column, ``last``: as at ``i_a``; either one ends the fold.
    o : Out(stream)
        ``row``: the sums of one row, row 0 of a fold first; ``last``: its last row.
    latency : int
        Cycles from the last beat of a fold to its row 0 at ``o``, when the queue is empty.
    acc_width : int
        Bits of a sum.

    Raises
    ------
    TypeError, ValueError
        When a format is not an integer format, a number not positive, ``acc_width`` too small for
        ``depth``, ``queue`` for a fold, or there is no such multiplier for such operands.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        a: Fixed = I8,
        b: Fixed = I8,
        depth: int = 65536,
        acc_width: int | None = None,
        queue: int | None = None,
        multiplier: str = "plain",
    ) -> None:
        self._rows = check_count("Number of rows", rows, most=MOST)
        self._cols = check_count("Number of columns", cols, most=MOST)
        self._a, self._b = check_integer("Left", a), check_integer("Right", b)
        self._multiplier = check_multiplier(multiplier, a, b)
        check_count("Depth", depth)
        if acc_width is not None:
            check_count("Width of the accumulator", acc_width)
        if queue is not None:
            check_count("Depth of the queue", queue)
        least = a.width + b.width + ceil_log2(depth) + (not a.is_signed and not b.is_signed)
        if acc_width is not None and acc_width < least:
            raise ValueError(
                f"Accumulator must have {least} bits or more for {depth} products of {a} and {b}, "
                f"not {acc_width!r}"
            )
        if queue is not None and queue < rows:
            raise ValueError(f"Queue must hold the {rows} rows of a fold or more, not {queue!r}")
        self._acc_width = least if acc_width is None else acc_width
        self._queue = rows + self.latency if queue is None else queue
        total = Integer(self._acc_width)
        super().__init__(
            {
                name: flow(
                    stream.Signature(
                        data.StructLayout({"row": data.ArrayLayout(shape, n), "last": 1})
                    )
                )
                for name, flow, shape, n in [
                    ("i_a", In, a, rows),
                    ("i_b", In, b, cols),
                    ("o", Out, total, cols),
                ]
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last beat of a fold to its row 0 at the output."""
        return self._cols + 4 + MULTIPLIERS[self._multiplier]

    @property
    def acc_width(self) -> int:
        """Bits of a sum."""
        return self._acc_width

    def elaborate(self, platform: object) -> Module:
        """Build admission, the edges, the grid of groups, and the output queue."""
        m = Module()
        rows, cols = self._rows, self._cols
        a, b = self.i_a.payload, self.i_b.payload

        # Admission: last beats are at least `rows` cycles apart, since a bus carries a row per
        # cycle; and that far from a reset, since sums of before may still be on their way.
        left = Signal(range(rows + 1), init=rows)
        delivers = Signal()
        room = Signal(range(self._queue + 1), init=self._queue)
        is_first = Signal(init=1)
        is_last = Signal()
        is_free = Signal()
        admitted = Signal()
        taken = Signal()
        ends = Signal()
        m.d.comb += [
            is_last.eq(a.last | b.last),
            is_free.eq((left == 0) | (left == 1)),
            admitted.eq(~is_last | (is_free & (room >= rows))),
            self.i_a.ready.eq(admitted & self.i_b.valid),
            self.i_b.ready.eq(admitted & self.i_a.valid),
            taken.eq(admitted & self.i_a.valid & self.i_b.valid),
            ends.eq(taken & is_last),
        ]
        with m.If(taken):
            m.d.sync += is_first.eq(is_last)
        with m.If(ends):
            m.d.sync += [left.eq(rows), delivers.eq(1)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += room.eq(room + (self.o.valid & self.o.ready) - Mux(ends, rows, 0))

        # Edges. Flags need no reset: `valid` below decides what leaves the array.
        m.submodules.a_skew = a_skew = Skew(width=self._a.width, lanes=rows)
        m.submodules.b_skew = b_skew = Skew(width=self._b.width, lanes=cols)
        m.submodules.deskew = deskew = Skew(width=self._acc_width, lanes=cols, falling=True)
        m.d.comb += [a_skew.i.eq(a.row), b_skew.i.eq(b.row)]
        flags = Signal(data.ArrayLayout(3, rows))
        flags_late = Signal.like(flags, reset_less=True)
        m.d.comb += flags.eq(Cat(taken, is_first, is_last, flags_late))
        m.d.sync += flags_late.eq(flags)

        # Grid: operands pass through; a sum needs one hop to its group's edge and one to the end.
        first_cols = range(0, cols, GROUP)
        above = [b_skew.o[c * self._b.width :][: GROUP * self._b.width] for c in first_cols]
        sums: list[list[Value]] = []
        for first_row in range(0, rows, GROUP):
            n_rows = min(GROUP, rows - first_row)
            tokens: Value = Cat(
                (a_skew.o.word_select(row, self._a.width), flags[row])
                for row in range(first_row, first_row + n_rows)
            )
            group_sums: list[Value] = []
            for block, first_col in enumerate(first_cols):
                group = OutputGroup(
                    rows=n_rows,
                    cols=min(GROUP, cols - first_col),
                    a=self._a,
                    b=self._b,
                    sum_width=self._acc_width,
                    multiplier=self._multiplier,
                )
                m.submodules[f"group_{first_row}_{first_col}"] = group
                m.d.comb += [group.i.eq(tokens), group.i_b.eq(above[block])]
                tokens, above[block] = group.o, group.o_b
                group_sums.append(group.o_sum)
            sums.append(group_sums)
        bus = Signal(self._acc_width * cols, reset_less=True)
        m.d.sync += bus.eq(Cat(reduce(or_, column) for column in zip(*sums, strict=True)))
        m.d.comb += deskew.i.eq(bus)

        # Output: `left` counts the rows of a fold as the array delivers them, this much later.
        behind = cols + 1 + MULTIPLIERS[self._multiplier]
        valid = Signal(behind)
        m.d.sync += valid.eq(Cat(delivers & (left != 0), valid))
        m.submodules.last_delay = last_delay = Delay(width=1, cycles=behind)
        m.d.comb += last_delay.i.eq(left == 1)
        # Queues side by side, in step: each has its own pointers, which so drive fewer pins. All
        # have the flag of the last row, so that they are equal; the first one's is looked at.
        queued: list[Value] = []
        block_cols = max(1, QUEUED // self._acc_width)
        for first in range(0, cols, block_cols):
            bits = deskew.o[first * self._acc_width :][: block_cols * self._acc_width]
            queue = Queue(shape=len(bits) + 1, depth=self._queue, registered=True)
            m.submodules[f"queue_{first}"] = queue
            m.d.comb += [
                queue.i.valid.eq(valid[-1]),
                queue.i.payload.eq(Cat(last_delay.o, bits)),
                queue.o.ready.eq(self.o.ready),
            ]
            if not queued:
                m.d.comb += [
                    self.o.valid.eq(queue.o.valid),
                    self.o.payload.last.eq(queue.o.payload[0]),
                ]
            queued.append(queue.o.payload[1:])
        m.d.comb += self.o.payload.row.eq(Cat(*queued))
        return m
