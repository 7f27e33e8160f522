"""Processing elements: a multiplier and its accumulator.

What an element hands on to its neighbours is registered once per column of elements, not here: that
is the same hardware, and compiled simulators handle one wide register faster than many narrow ones.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import I8, NumberFormat
from .booth import Accumulator, BoothProduct, check_booth

__all__ = [
    "MULTIPLIERS",
    "OutputElement",
    "StationaryElement",
    "check_multiplier",
    "output_token",
    "stationary_token",
]

MULTIPLIERS = {"plain": 1, "lut": 2}
"""What multiplies operands that both change, and the cycles from a pair to its sum."""


def check_multiplier(multiplier: str, a: NumberFormat, b: NumberFormat) -> str:
    """Return ``multiplier`` if it exists and can multiply operands of these formats."""
    if multiplier not in MULTIPLIERS:
        names = ", ".join(map(repr, MULTIPLIERS))
        raise ValueError(f"Multiplier must be one of {names}, not {multiplier!r}")
    if multiplier == "lut":
        check_booth(a, b)
    return multiplier


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

    Nothing holds a sum for longer than the cycle in which it is complete: the first product of the
    next fold overwrites it, at the earliest one cycle later.

    Parameters
    ----------
    a, b : NumberFormat
        Operands.
    sum_width : int
        Bits of the accumulator, signed.
    multiplier : str
        ``plain``: a ``*``, for the synthesis tool. ``lut``: a
        :class:`~qkloom.rtl.matrix.booth.BoothProduct`.

    Members
    -------
    i : In(output_token)
        Left operand and flags of this cycle.
    i_b : In(b)
        Upper operand of this cycle.
    o_sum : Out(signed)
        Sum of the products so far: with the pair of this cycle in the next one, or, of ``lut``, in
        the one after that.

    Raises
    ------
    ValueError
        When there is no such multiplier, or it cannot multiply such operands.
    """

    def __init__(
        self,
        *,
        a: NumberFormat = I8,
        b: NumberFormat = I8,
        sum_width: int = 32,
        multiplier: str = "plain",
    ) -> None:
        self._multiplier = check_multiplier(multiplier, a, b)
        self._a, self._b = a, b
        super().__init__({"i": In(output_token(a)), "i_b": In(b), "o_sum": Out(signed(sum_width))})

    def elaborate(self, platform: object) -> Module:
        """Build the multiplier and the accumulator."""
        m = Module()
        if self._multiplier == "lut":
            self._connect_booth(m)
            return m
        total = Signal.like(self.o_sum, reset_less=True)
        with m.If(self.i.valid):
            m.d.sync += total.eq(Mux(self.i.first, 0, total) + self.i.operand * self.i_b)
        m.d.comb += self.o_sum.eq(total)
        return m

    def _connect_booth(self, m: Module) -> None:
        """Multiply in one cycle, and add up in the next."""
        m.submodules.product = product = BoothProduct(a=self._a, b=self._b)
        m.submodules.total = total = Accumulator(i_width=len(product.o), width=len(self.o_sum))
        valid = Signal(reset_less=True)
        first = Signal(reset_less=True)
        m.d.sync += [valid.eq(self.i.valid), first.eq(self.i.first)]
        m.d.comb += [
            product.i_a.eq(self.i.operand),
            product.i_b.eq(self.i_b),
            total.i.eq(product.o),
            total.i_carry.eq(product.o_carry),
            total.i_valid.eq(valid),
            total.i_first.eq(first),
            self.o_sum.eq(total.o),
        ]
