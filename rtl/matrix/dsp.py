"""The weight-stationary matrix unit made of DSP slices, several products in each."""

from collections.abc import Iterator
from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib.wiring import In, Out

from ..adder import SumTree, sum_latency
from ..component import Component
from ..delay import Delay
from ..formats import I8, Fixed
from ..primitive import Primitive
from .interface import WeightStationary
from .packing import Packing

__all__ = ["DspMatrixUnit", "PackedChain"]

# Slices side by side that share the registers of their operands, and so the pins that one drives.
BLOCK = 16
# Chains on top of each other that share a register of their swap flags: 8 x 16 pins.
CHAINS = 8


class PackedChain(Primitive):
    """A chain of DSP slices: each adds its packed products to what the slice before it has.

    ::

        i_weight --> D --> AD --+
              i_load ^     ^    v
                      i_swap   (*) --> M --> (+) --> P --> next slice, o
        i ---------------> B ---^             ^
                                              bias, or P of the slice before

    D is the shadow of a stationary word, AD the active one: the slice's own registers. Both bodies
    have the same ones, under the same names.

    Parameters
    ----------
    rows : int
        Slices; at most ``packing.rows``.
    packing : Packing
        What is in a stationary word.

    Members
    -------
    i : In(rows * packing.operand_width)
        A streaming operand per slice, signed; that of slice k one cycle after that of slice k - 1.
    i_swap : In(rows)
        The shadow becomes active, for the operand of the same cycle and those after it.
    i_load : In(rows)
        The shadow takes ``i_weight``.
    i_weight : In(packing.n_fields * width of an element)
        Stationary elements in offset binary, field 0 lowest.
    o : Out(packing.n_fields * packing.field_width)
        Sum of products and bias in each field, three cycles after the last slice's operand.

    Raises
    ------
    ValueError
        When a field may overflow.
    """

    def __init__(self, *, rows: int, packing: Packing) -> None:
        if not 1 <= rows <= packing.rows:
            raise ValueError(f"A chain of {packing} has 1 to {packing.rows} slices, not {rows}")
        self._rows, self._packing = rows, packing
        super().__init__(
            {
                "i": In(rows * packing.operand_width),
                "i_swap": In(rows),
                "i_load": In(rows),
                "i_weight": In(packing.n_fields * packing.stationary.width),
                "o": Out(packing.n_fields * packing.field_width),
            }
        )

    @property
    def word(self) -> Value:
        """What arrives at D: the elements of ``i_weight`` at their places."""
        width, distance = self._packing.stationary.width, self._packing.field_width
        gap = Const(0, distance - width) if distance > width else Const(0, 0)
        elements = (self.i_weight.word_select(k, width) for k in range(self._packing.n_fields))
        return Cat((element, gap) for element in elements)

    def twin(self) -> Module:
        """Return the registers and one product per slice, without bits that are always 0."""
        m = Module()
        packing = self._packing
        shape = signed(27)
        word = Signal(shape)
        m.d.comb += word.eq(self.word)
        total: Value = Const(packing.biases(self._rows), len(self.o))
        for k in range(self._rows):
            b = Signal(signed(packing.operand_width), name=f"b_{k}", reset_less=True)
            d = Signal(shape, name=f"d_{k}", reset_less=True)
            ad = Signal(shape, name=f"ad_{k}", reset_less=True)
            product = Signal(signed(27 + len(b)), name=f"m_{k}", reset_less=True)
            p = Signal(len(self.o), name=f"p_{k}", reset_less=True)
            m.d.sync += [
                b.eq(self.i.word_select(k, len(b))),
                product.eq(ad * b),
                p.eq(total + product),
            ]
            with m.If(self.i_load[k]):
                m.d.sync += d.eq(word)
            with m.If(self.i_swap[k]):
                m.d.sync += ad.eq(d - packing.offsets)
            total = p
        m.d.comb += self.o.eq(total)
        return m


class DspColumn(Component):
    """All slices that hold the same columns of a tile: chains, and the sums of their fields.

    Parameters
    ----------
    rows : int
        Rows of a tile.
    cols : int
        Columns in use; at most ``packing.n_fields``.
    packing : Packing
        What a slice holds.
    acc_width : int
        Bits of a result.

    Members
    -------
    i, i_swap, i_load : bits
        Operand, swap flag and load flag of each row, as :class:`PackedChain` has them.
    i_weight : bits
        Elements of a row of the tile, in offset binary.
    o : bits
        Results; ``3 + latency of the adders`` cycles after the operands of the last slices.
    """

    # On 32x32 with clang, compiled simulation is fastest with columns as units.
    keep_boundary: ClassVar[bool] = True

    def __init__(self, *, rows: int, cols: int, packing: Packing, acc_width: int) -> None:
        self._rows, self._cols, self._packing = rows, cols, packing
        self._acc_width = acc_width
        super().__init__(
            {
                "i": In(rows * packing.operand_width),
                "i_swap": In(rows),
                "i_load": In(rows),
                "i_weight": In(cols * packing.stationary.width),
                "o": Out(cols * acc_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the chains and a tree per field."""
        m = Module()
        packing, width = self._packing, self._packing.operand_width
        sums = []
        first = 0
        for number, rows in enumerate(chain_lengths(self._rows, packing)):
            m.submodules[f"chain_{number}"] = chain = PackedChain(rows=rows, packing=packing)
            m.d.comb += [
                chain.i.eq(self.i[first * width : (first + rows) * width]),
                chain.i_swap.eq(self.i_swap[first : first + rows]),
                chain.i_load.eq(self.i_load[first : first + rows]),
                chain.i_weight.eq(self.i_weight),
            ]
            sums.append(chain.o)
            first += rows
        for col in range(self._cols):
            m.submodules[f"sum_{col}"] = tree = sum_tree(self._rows, packing, self._acc_width)
            start = col * packing.field_width
            m.d.comb += [
                tree.i.eq(Cat(total[start : start + tree.i_width] for total in sums)),
                self.o.word_select(col, self._acc_width).eq(tree.o),
            ]
        return m


class DspBlock(Component):
    """Columns side by side, behind one register of all that they share.

    Parameters
    ----------
    rows, cols : int
        Of the part of a tile that is here.
    packing : Packing
        What a slice holds.
    acc_width : int
        Bits of a result.

    Members
    -------
    i, i_load, i_weight, o : bits
        As of :class:`DspColumn`; the inputs a cycle earlier.
    i_swap : bits
        A swap flag for each slice of the longest chain.
    """

    def __init__(self, *, rows: int, cols: int, packing: Packing, acc_width: int) -> None:
        self._rows, self._cols, self._packing = rows, cols, packing
        self._acc_width = acc_width
        super().__init__(
            {
                "i": In(rows * packing.operand_width),
                "i_swap": In(max(chain_lengths(rows, packing))),
                "i_load": In(rows),
                "i_weight": In(cols * packing.stationary.width),
                "o": Out(cols * acc_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the registers and the columns."""
        m = Module()
        operands = Signal.like(self.i, reset_less=True)
        loads = Signal.like(self.i_load, reset_less=True)
        weights = Signal.like(self.i_weight, reset_less=True)
        m.d.sync += [
            operands.eq(self.i),
            loads.eq(self.i_load),
            weights.eq(self.i_weight),
        ]
        # Equal registers in a module of their own each: within one, synthesis would merge them.
        flags: list[Value] = []
        depth = len(self.i_swap)
        lengths = chain_lengths(self._rows, self._packing)
        for first in range(0, len(lengths), CHAINS):
            m.submodules[f"swap_{first}"] = late = Delay(width=depth, cycles=1)
            m.d.comb += late.i.eq(self.i_swap)
            flags.extend(late.o[depth - rows :] for rows in lengths[first : first + CHAINS])
        swaps = Signal(self._rows)
        m.d.comb += swaps.eq(Cat(*flags))

        fields, width = self._packing.n_fields, self._packing.stationary.width
        for first in range(0, self._cols, fields):
            cols = min(fields, self._cols - first)
            column = DspColumn(
                rows=self._rows, cols=cols, packing=self._packing, acc_width=self._acc_width
            )
            m.submodules[f"column_{first}"] = column
            m.d.comb += [
                column.i.eq(operands),
                column.i_swap.eq(swaps),
                column.i_load.eq(loads),
                column.i_weight.eq(weights[first * width : (first + cols) * width]),
                self.o[first * self._acc_width : (first + cols) * self._acc_width].eq(column.o),
            ]
        return m


class DspMatrixUnit(WeightStationary):
    """The array of DSP slices, each with as many products as it has room for: two of int8.

    A slice holds neighbouring elements of one row of a tile, in a shadow and an active register of
    its own, and multiplies them all by one operand (:mod:`qkloom.rtl.matrix.packing`). Slices add
    up in chains, as long as no field of the sums overflows; adders add the chains. Chains start
    together, and columns run in step: only the slices of a chain take turns, so that the latency is
    that of a chain and not of the array.

    ::

             tile --> register --> register ---> D   D   D
                                   per block     :   :   :
        i --> sign --> skew -----> register ---> slice (0,0)  slice (0,1) ...
                      along        per block       |            |
                      a chain                    slice (1,0)  slice (1,1) ...
                                                   v            v
                                                 sums of chains ---> o    tag, valid: delay lines

    A tile may start loading in the very cycle in which the first row under the tile before it is
    accepted: tile rows pass as many registers as operands do on their way to the first slices, so
    that each arrives in its shadow when that has just been copied, or later.

    No register and no gate drives more than 128 pins with up to 128 rows.

    Other parameters and members are those of
    :class:`~qkloom.rtl.matrix.interface.WeightStationary`.

    Members
    -------
    packing : Packing
        What a slice holds.
    n_dsp : int
        Slices.

    Raises
    ------
    ValueError
        When an operand does not fit a DSP.
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
        self._packing = Packing(stream, stationary, mixed_signs)

    @property
    def packing(self) -> Packing:
        """What a slice holds."""
        return self._packing

    @property
    def n_dsp(self) -> int:
        """DSP slices."""
        return self._rows * -(-self._cols // self._packing.n_fields)

    @property
    def latency(self) -> int:
        """Cycles from a beat taken at ``i`` to its result at ``o``.

        One into the skew, one into the block, three through a slice; one less than slices in a
        chain; and the adders.
        """
        lengths = chain_lengths(self._rows, self._packing)
        return 4 + lengths[0] + sum_latency(len(lengths), -self._packing.bias(self._rows))

    @property
    def load_cycles(self) -> int:
        """Cycles that a tile takes to load."""
        return self._rows

    def elaborate(self, platform: object) -> Module:
        """Build admission, the skew along a chain, and the blocks of columns."""
        m = Module()
        rows, packing = self._rows, self._packing
        i, tile = self.i.payload, self.tile.payload

        # The shadow is complete with the last row of a tile. (A counter: bits that move from row to
        # row would be twice the pins on `load`.)
        last = Signal()
        at_row = Signal(range(rows))
        admission = self._admit(m, loaded=last)
        load = admission.load
        m.d.comb += last.eq(load & (at_row == rows - 1))
        with m.If(load):
            m.d.sync += at_row.eq(Mux(last, 0, at_row + 1))

        # Tile rows: offset binary is two's complement with its sign bit inverted.
        loads = Signal(rows, reset_less=True)
        weights = Signal(self._cols * self._stationary.width, reset_less=True)
        signs = Const(packing.offset, self._stationary.width).replicate(self._cols)
        m.d.sync += [
            loads.eq(Cat(load & (at_row == row) for row in range(rows))),
            weights.eq(Value.cast(tile.row) ^ signs),
        ]

        # Streaming rows. Flags need no reset: what is under way stays ahead of what follows.
        width = packing.operand_width
        operands = Signal(rows * width)
        skewed = Signal(rows * width)
        for row in range(rows):
            bits = Value.cast(i.row[row])
            top = Cat(bits[-1] & admission.is_signed)[: width - len(bits)]
            m.d.comb += operands.word_select(row, width).eq(Cat(bits, top))
        places = list(chain_places(rows, packing))
        depth = max(places) + 1
        for place in range(depth):
            here = [row for row in range(rows) if places[row] == place]
            late = Delay(width=len(here) * width, cycles=place + 1)
            m.submodules[f"skew_{place}"] = late
            m.d.comb += late.i.eq(Cat(operands.word_select(row, width) for row in here))
            for index, row in enumerate(here):
                skewed_operand = skewed.word_select(row, width)
                m.d.comb += skewed_operand.eq(late.o.word_select(index, width))
        swaps = Signal(depth, reset_less=True)
        m.d.sync += swaps.eq(Cat(admission.swap, swaps))

        sums = []
        for first in range(0, self._cols, BLOCK * packing.n_fields):
            cols = min(BLOCK * packing.n_fields, self._cols - first)
            block = DspBlock(rows=rows, cols=cols, packing=packing, acc_width=self.acc_width)
            m.submodules[f"block_{first}"] = block
            m.d.comb += [
                block.i.eq(skewed),
                block.i_swap.eq(swaps),
                block.i_load.eq(loads),
                block.i_weight.eq(weights[first * self._stationary.width :][: len(block.i_weight)]),
            ]
            sums.append(block.o)
        self._answer(m, admission.taken, Cat(*sums))
        return m


def chain_lengths(rows: int, packing: Packing) -> list[int]:
    """Return the slices of each chain: as few and as equal chains as possible, longer ones first.

    They end together. That the first ones are the longest lets each row of a tile arrive after the
    operands that the shadow of its row must still wait for.
    """
    chains = -(-rows // packing.rows)
    return [rows // chains + (number < rows % chains) for number in range(chains)]


def chain_places(rows: int, packing: Packing) -> Iterator[int]:
    """Yield for each row by how many cycles its operand is later than that of row 0."""
    lengths = chain_lengths(rows, packing)
    for length in lengths:
        yield from range(lengths[0] - length, lengths[0])


def sum_tree(rows: int, packing: Packing, acc_width: int) -> SumTree:
    """Return the adders that add the chains of a column and take their biases off."""
    lengths = chain_lengths(rows, packing)
    return SumTree(
        n=len(lengths),
        low=0,
        high=lengths[0] * (packing.most - packing.least),
        width=acc_width,
        constant=-packing.bias(rows),
    )
