"""Processing elements: a multiplier and its accumulator.

What an element hands on to its neighbours is registered once per column of elements, not here: that
is the same hardware, and compiled simulators handle one wide register faster than many narrow ones.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import I8, NumberFormat

__all__ = ["OutputElement", "StationaryElement", "output_token", "stationary_token"]


def stationary_token(operand_width: int) -> data.StructLayout:
    """Return what moves right through a weight-stationary array, an element per cycle.

    ``swap`` is one cycle ahead of the first operand under a new weight; ``load`` belongs to the
    weight that is on the column bus in the same cycle, whatever the operand.
    """
    return data.StructLayout({"operand": signed(operand_width), "swap": 1, "load": 1})


def output_token(operand: NumberFormat) -> data.StructLayout:
    """Return what moves right through an output-stationary array, an element per cycle.

    ``first`` and ``last`` delimit a fold; they count only in a ``valid`` token.
    """
    return data.StructLayout({"operand": operand, "valid": 1, "first": 1, "last": 1})


class StationaryElement(Component):
    """Multiply passing operands by a held weight; add each product to the passing sum.

    A shadow register takes the next weight from the column bus while the active one multiplies.

    Parameters
    ----------
    operand_width, weight_width, sum_width : int
        Bits; all three are signed.

    Members
    -------
    i : In(stationary_token)
        Operand and flags of this cycle.
    i_weight : In(signed)
        Column bus.
    i_sum, o_sum : signed
        Sum of the elements above, and with this one's product, one cycle later.
    """

    def __init__(
        self, *, operand_width: int = 9, weight_width: int = 8, sum_width: int = 32
    ) -> None:
        super().__init__(
            {
                "i": In(stationary_token(operand_width)),
                "i_weight": In(signed(weight_width)),
                "i_sum": In(signed(sum_width)),
                "o_sum": Out(signed(sum_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build two weight registers, the multiplier and the adder."""
        m = Module()
        shadow = Signal.like(self.i_weight, reset_less=True)
        active = Signal.like(self.i_weight, reset_less=True)
        total = Signal.like(self.o_sum, reset_less=True)
        with m.If(self.i.load):
            m.d.sync += shadow.eq(self.i_weight)
        with m.If(self.i.swap):
            m.d.sync += active.eq(shadow)
        m.d.sync += total.eq(self.i_sum + self.i.operand * active)
        m.d.comb += self.o_sum.eq(total)
        return m


class OutputElement(Component):
    """Multiply pairs of passing operands; add up the products of a fold.

    The sum is complete in the cycle after the last pair. Nothing holds it any longer: the first
    product of the next fold overwrites it, at the earliest one cycle later.

    Parameters
    ----------
    a, b : NumberFormat
        Operands.
    sum_width : int
        Bits of the accumulator, signed.

    Members
    -------
    i : In(output_token)
        Left operand and flags of this cycle.
    i_b : In(b)
        Upper operand of this cycle.
    o_sum : Out(signed)
        Sum of the products so far.
    """

    def __init__(self, *, a: NumberFormat = I8, b: NumberFormat = I8, sum_width: int = 32) -> None:
        super().__init__({"i": In(output_token(a)), "i_b": In(b), "o_sum": Out(signed(sum_width))})

    def elaborate(self, platform: object) -> Module:
        """Build the multiplier and the accumulator."""
        m = Module()
        total = Signal.like(self.o_sum, reset_less=True)
        with m.If(self.i.valid):
            m.d.sync += total.eq(Mux(self.i.first, 0, total) + self.i.operand * self.i_b)
        m.d.comb += self.o_sum.eq(total)
        return m
