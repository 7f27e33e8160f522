"""Rows of a KV block, each in units of its own sum of all: the block's attention."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..adder.tree import SumTree, sum_latency
from ..check import check_count
from ..component import Component
from ..formats import Integer
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed, shift_right, shift_stages
from ..product import Product

__all__ = ["Weigher", "row_state_layout", "weigh_layout"]

_RECIPROCAL = 17
_EXPONENT = 6


def row_state_layout() -> data.StructLayout:
    """Return the layout of what all blocks of a row share.

    ``maximum``: the row's, of all keys. ``e``, ``r``: reciprocal of its sum, see
    :func:`~qkloom.rtl.lane.reciprocal.reciprocal_layout`. ``carry``: see
    :func:`~qkloom.rtl.index.partial.partial_layout`.
    """
    return data.StructLayout(
        {"maximum": signed(Numerics.max_width), "e": _EXPONENT, "r": _RECIPROCAL, "carry": 1}
    )


def weigh_layout(*, rows: int, sum_width: int) -> data.StructLayout:
    """Return the layout of some rows of a block; ``present`` says which of them there are."""
    partial = data.StructLayout(
        {"maximum": signed(Numerics.max_width), "all": sum_width, "far": sum_width}
    )
    return data.StructLayout(
        {
            "partials": data.ArrayLayout(partial, rows),
            "states": data.ArrayLayout(row_state_layout(), rows),
            "present": rows,
            "first": 1,
            "last": 1,
        }
    )


class Weigher(Component):
    """Multiply what rows have in a block by the reciprocals of all they have; sum up the rows.

    ::

        all, far --> * reciprocal --> shift --> over the rows --> over the block --> o
        maxima, exponent ------------> amount

    Parameters
    ----------
    rows : int
        Rows a cycle.
    partial_width : int
        Bits of what a row has in a block; at most 26.
    fraction : int
        Bits of a mass below one row's attention.
    mass_width : int
        Bits of a mass.

    Members
    -------
    i : In(stream)
        :func:`weigh_layout`, ``first`` and ``last`` of a block; always taken.
    o : Out(stream)
        Of a block, ``latency`` cycles after its last rows: ``all``, its attention; ``above`` and
        ``below``, those parts of it that are one block farther, or nearer, than the blocks are.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or too large.
    """

    def __init__(self, *, rows: int, partial_width: int, fraction: int, mass_width: int) -> None:
        check_count("Rows", rows)
        check_count("Partial width", partial_width, most=26)
        check_count("Fraction", fraction, most=24)
        check_count("Mass width", mass_width)
        self._rows, self._fraction = rows, fraction
        row = fraction + 2  # of one row's attention; the spare bit holds what rounds up
        if mass_width <= row:
            raise ValueError(f"Mass width must be above {row}, not {mass_width}")
        self._row = row
        self._tree: dict[str, Any] = dict(
            n=rows, low=0, high=(1 << row) - 1, width=row + (rows - 1).bit_length() + 1
        )
        result = data.StructLayout({"all": mass_width, "above": mass_width, "below": mass_width})
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        weigh_layout(rows=rows, sum_width=partial_width), always_ready=True
                    )
                ),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last rows to ``o``."""
        return self._in_rows + sum_latency(self._rows) + 1

    @property
    def _in_rows(self) -> int:
        return Product.latency + shift_stages(_EXPONENT) + 1

    def elaborate(self, platform: object) -> Module:
        """Build the rows; sum them up."""
        m = Module()
        rows = self.i.payload
        names = ("all", "above", "below")
        of_rows: dict[str, list[Signal]] = {name: [] for name in names}
        for i in range(self._rows):
            parts = self._weigh(m, i, rows.partials[i], rows.states[i])
            for name, part in zip(names, parts, strict=True):
                of_rows[name].append(part)
        in_tree = sum_latency(self._rows)
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        in_rows = self._in_rows + in_tree
        flags = delayed(m, Cat(rows.first, rows.last), in_rows, name="flags")
        ends = Signal()
        m.d.sync += ends.eq(flags[1])
        for name in names:
            m.submodules[f"{name}_tree"] = tree = SumTree(**self._tree)
            m.d.comb += tree.i.eq(Cat(*of_rows[name]))
            total = Signal.like(self.o.payload[name], name=f"{name}_total", reset_less=True)
            with m.If(valids[in_rows - 1]):
                m.d.sync += total.eq((Mux(flags[0], 0, total) + tree.o.as_unsigned())[: len(total)])
            m.d.comb += self.o.payload[name].eq(total)
        m.d.comb += self.o.valid.eq(valids[-1] & ends)
        return m

    def _weigh(self, m: Module, i: int, partial: data.View, state: data.View) -> list[Signal]:
        """Return a row's attention in the block: all, farther, nearer; 0 if it is not there."""
        width = len(partial.all)
        products = []
        for name in ("all", "far"):
            m.submodules[f"{name}_{i}"] = product = Product(
                a=Integer(width, is_signed=False), b=Integer(_RECIPROCAL, is_signed=False)
            )
            m.d.comb += [product.i_a.eq(partial[name]), product.i_b.eq(state.r)]
            products.append(product.o[: width + _RECIPROCAL])

        # The amount is ready with the products: the fall of the maximum, and the exponent.
        fall = Signal(Numerics.max_width + 1, name=f"fall_{i}", reset_less=True)
        exponent = Signal(signed(_EXPONENT + 2), name=f"exponent_{i}", reset_less=True)
        wide = Signal(signed(Numerics.max_width + 3), name=f"wide_{i}", reset_less=True)
        amount = Signal(_EXPONENT, name=f"amount_{i}", reset_less=True)
        most = (1 << _EXPONENT) - 1
        m.d.sync += [
            fall.eq(state.maximum - partial.maximum),
            exponent.eq(state.e + (_RECIPROCAL - self._fraction)),
            wide.eq(fall + exponent),
            amount.eq(Mux(wide > most, most, wide[:_EXPONENT])),
        ]
        shifted = shift_right(m, products, amount, name=f"share_{i}")
        present = delayed(m, self.i.payload.present[i], self._in_rows - 1, name=f"present_{i}")
        carry = delayed(m, state.carry, self._in_rows - 1, name=f"carry_{i}")
        parts = []
        every, far = (value[: self._row] for value in shifted)
        near = Signal(self._row, name=f"near_{i}")
        m.d.comb += near.eq(every - far)
        for name, value, counts in (
            ("all", every, present),
            ("above", far, present & carry),
            ("below", near, present & ~carry),
        ):
            part = Signal(self._row, name=f"{name}_share_{i}", reset_less=True)
            m.d.sync += part.eq(Mux(counts, value, 0))
            parts.append(part)
        return parts
