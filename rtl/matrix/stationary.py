"""The weight-stationary matrix unit."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..delay import Delay, Skew
from ..formats import I8, Fixed
from .element import StationaryElement, stationary_token
from .interface import WeightStationary

__all__ = ["MatrixUnit"]

# Rows and columns of elements that make one module of the hierarchy.
GROUP = 16


class StationaryColumn(Component):
    """Processing elements on top of each other, and the registers of what moves right through them.

    Parameters
    ----------
    rows : int
        Elements.
    operand_width, weight_width, sum_width : int
        As of :class:`~qkloom.rtl.matrix.element.StationaryElement`.

    Members
    -------
    i, o : bits
        A stationary_token per row, from the left, and to the right one cycle later.
    i_weight : bits
        Column bus.
    i_sum, o_sum : bits
        From above and downwards; latency ``rows`` cycles.
    """

    # On 32x32 with clang, a third more cycles/s than with groups, or rows of elements, as units.
    keep_boundary: ClassVar[bool] = True

    def __init__(self, *, rows: int, operand_width: int, weight_width: int, sum_width: int) -> None:
        self._rows = rows
        self._element = {
            "operand_width": operand_width,
            "weight_width": weight_width,
            "sum_width": sum_width,
        }
        self._token_width = stationary_token(operand_width).size
        super().__init__(
            {
                "i": In(self._token_width * rows),
                "o": Out(self._token_width * rows),
                "i_weight": In(weight_width),
                "i_sum": In(sum_width),
                "o_sum": Out(sum_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect each element with the one above."""
        m = Module()
        tokens = Signal.like(self.i, reset_less=True)
        m.d.sync += tokens.eq(self.i)
        m.d.comb += self.o.eq(tokens)
        total = self.i_sum
        for row in range(self._rows):
            m.submodules[f"element_{row}"] = element = StationaryElement(**self._element)
            m.d.comb += [
                element.i.eq(tokens.word_select(row, self._token_width)),
                element.i_weight.eq(self.i_weight),
                element.i_sum.eq(total),
            ]
            total = element.o_sum
        m.d.comb += self.o_sum.eq(total)
        return m


class StationaryGroup(Component):
    """Columns side by side, behind one register of their buses.

    Parameters
    ----------
    rows, cols : int
        Elements.
    operand_width, weight_width, sum_width : int
        As of :class:`~qkloom.rtl.matrix.element.StationaryElement`.

    Members
    -------
    i, o : bits
        A stationary_token per row, from the left and to the right; latency ``cols`` cycles.
    i_weight, o_weight : bits
        Column buses from above, and downwards one cycle later, which is when the elements here see
        them.
    i_sum, o_sum : bits
        A sum per column, from above and downwards; latency ``rows`` cycles.

    Ports are plain bits, row or column 0 in the lowest: of an array port, Amaranth emits a wire per
    element in whatever module instantiates it, which is two thirds of a large grid's text.
    """

    def __init__(
        self, *, rows: int, cols: int, operand_width: int, weight_width: int, sum_width: int
    ) -> None:
        self._cols = cols
        self._weight_width, self._sum_width = weight_width, sum_width
        self._column = {
            "rows": rows,
            "operand_width": operand_width,
            "weight_width": weight_width,
            "sum_width": sum_width,
        }
        tokens_width = stationary_token(operand_width).size * rows
        super().__init__(
            {
                "i": In(tokens_width),
                "o": Out(tokens_width),
                "i_weight": In(weight_width * cols),
                "o_weight": Out(weight_width * cols),
                "i_sum": In(sum_width * cols),
                "o_sum": Out(sum_width * cols),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect each column with its left neighbour."""
        m = Module()
        bus = Signal.like(self.i_weight, reset_less=True)
        m.d.sync += bus.eq(self.i_weight)
        tokens = self.i
        for col in range(self._cols):
            m.submodules[f"column_{col}"] = column = StationaryColumn(**self._column)
            m.d.comb += [
                column.i.eq(tokens),
                column.i_weight.eq(bus.word_select(col, self._weight_width)),
                column.i_sum.eq(self.i_sum.word_select(col, self._sum_width)),
                self.o_sum.word_select(col, self._sum_width).eq(column.o_sum),
            ]
            tokens = column.o
        m.d.comb += [self.o.eq(tokens), self.o_weight.eq(bus)]
        return m


class MatrixUnit(WeightStationary):
    """The systolic array of plain products: what the synthesis tool makes of ``*``.

    Operands move right and sums move down, one element per cycle; nothing in the array can stall.
    The next tile loads into shadow registers, element (r, c) over the bus of column c, under a
    token that moves right through row r one element per cycle, as operands do. A flag that moves
    with a row's operands makes the shadow weights active. Both waves have the same slope, so a tile
    may start loading in the very cycle in which the first row under the tile before it is accepted:
    one tile per ``max(rows streamed, rows)`` cycles, without a bubble.

    ::

                 tile --> skew ----> column buses, one register per group of rows
                  |                    v   v   v
        i --> sign, skew, tokens -->  element (0,0) ... -> (0,c)
                                       :                     :
                                      element (r,0) ... -> (r,c)
                                       v   v   v
                                      deskew --> o           tag, valid: delay lines

    Parameters, members and errors are those of
    :class:`~qkloom.rtl.matrix.interface.WeightStationary`.
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
    def latency(self) -> int:
        """Cycles from a beat taken at ``i`` to its result at ``o``."""
        return self._rows + self._cols + 1

    @property
    def load_cycles(self) -> int:
        """Cycles that a tile takes to load."""
        return self._rows

    def elaborate(self, platform: object) -> Module:
        """Build admission, the edges, and the grid of groups."""
        m = Module()
        rows, cols = self._rows, self._cols
        i, tile = self.i.payload, self.tile.payload

        # The shadow is complete with the last row of a tile.
        last = Signal()
        at_row = Signal(rows, init=1)
        admission = self._admit(m, loaded=last)
        load, swap = admission.load, admission.swap
        m.d.comb += last.eq(load & at_row[-1])
        with m.If(load):
            m.d.sync += at_row.eq(at_row.rotate_left(1))

        # Signedness: extend once, here, so that elements multiply signed numbers only.
        operand_width = self._stream.width + (self._mixed_signs or not self._stream.is_signed)
        weight_width = self._stationary.width + (not self._stationary.is_signed)
        operands = Signal(data.ArrayLayout(operand_width, rows), reset_less=True)
        for row in range(rows):
            bits = Value.cast(i.row[row])
            extended = Cat(bits, bits[-1] & admission.is_signed)
            m.d.sync += operands[row].eq(extended[:operand_width])
        weights = Signal(data.ArrayLayout(signed(weight_width), cols))
        for col in range(cols):
            m.d.comb += weights[col].eq(tile.row[col])

        # Edges. Flags in the array need no reset: what is under way stays ahead of what follows.
        swaps = Signal(rows)
        swaps_late = Signal(rows, reset_less=True)
        loads = Signal(rows)
        m.d.comb += [swaps.eq(Cat(swap, swaps_late)), loads.eq(at_row & load.replicate(rows))]
        m.d.sync += swaps_late.eq(swaps)
        m.submodules.operand_skew = operand_skew = Skew(width=operand_width, lanes=rows)
        m.submodules.weight_skew = weight_skew = Skew(width=weight_width, lanes=cols)
        m.submodules.deskew = deskew = Skew(width=self.acc_width, lanes=cols, falling=True)
        m.d.comb += [operand_skew.i.eq(operands), weight_skew.i.eq(weights)]

        # Grid: each group has its column buses and load flags one cycle later than the one above.
        first_cols = range(0, cols, GROUP)
        buses = [weight_skew.o[c * weight_width :][: GROUP * weight_width] for c in first_cols]
        sums: list[Value] = [Const(0)] * len(buses)
        for first_row in range(0, rows, GROUP):
            n_rows = min(GROUP, rows - first_row)
            group_loads = loads[first_row : first_row + n_rows]
            if first_row:
                late = Delay(width=n_rows, cycles=first_row // GROUP)
                m.submodules[f"load_delay_{first_row}"] = late
                m.d.comb += late.i.eq(group_loads)
                group_loads = late.o
            tokens: Value = Cat(
                (operand_skew.o.word_select(row, operand_width), swaps[row], group_load)
                for row, group_load in enumerate(group_loads, first_row)
            )
            for block, first_col in enumerate(first_cols):
                group = StationaryGroup(
                    rows=n_rows,
                    cols=min(GROUP, cols - first_col),
                    operand_width=operand_width,
                    weight_width=weight_width,
                    sum_width=self.acc_width,
                )
                m.submodules[f"group_{first_row}_{first_col}"] = group
                m.d.comb += [
                    group.i.eq(tokens),
                    group.i_weight.eq(buses[block]),
                    group.i_sum.eq(sums[block]),
                ]
                tokens, buses[block], sums[block] = group.o, group.o_weight, group.o_sum
        m.d.comb += deskew.i.eq(Cat(*sums))

        self._answer(m, admission.taken, deskew.o)
        return m
