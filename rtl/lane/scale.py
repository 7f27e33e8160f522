"""Scores times their factor: exact integers become base-2 scores in fixed point."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, wrap
from .numerics import Numerics
from .pipeline import delayed, shift_right, shift_stages

__all__ = ["Scale"]

_PRODUCT_STAGES = 2  # behind the multiplier: with the register in front, all that a DSP can absorb
_ROUND_STAGES = 2


class Scale(Component):
    """Multiply scores by ``mantissa / 2**shift``; round to nearest, ties up; clamp.

    Parameters
    ----------
    row_width : int
        Scores per cycle.
    score_width : int
        Bits of a score, signed.
    fraction : int
        Fraction bits of the result, which has 16 integer bits.

    Members
    -------
    i : In
        ``scores``, with the ``mantissa`` (17 bits) and ``shift`` (6 bits) of all of them; expected
        to come from registers.
    o : Out
        Base-2 scores, ``latency`` cycles later, within +-(2**15 - 1): the lowest integer is free.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, row_width: int, score_width: int, fraction: int) -> None:
        parameters = {"Row width": row_width, "Score width": score_width, "Fraction": fraction}
        for name, value in parameters.items():
            check_count(name, value)
        self._row_width, self._score_width, self._fraction = row_width, score_width, fraction
        self._x = Integer(Numerics.max_width + fraction)
        scores = data.ArrayLayout(Integer(score_width), row_width)
        super().__init__(
            {
                "i": In(
                    data.StructLayout(
                        {
                            "scores": scores,
                            "mantissa": Numerics.mantissa_width,
                            "shift": Numerics.shift_width,
                        }
                    )
                ),
                "o": Out(data.ArrayLayout(self._x, row_width)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return _PRODUCT_STAGES + shift_stages(Numerics.shift_width) + _ROUND_STAGES

    def elaborate(self, platform: object) -> Module:
        """Multiply; shift; round; clamp."""
        m = Module()
        amount = delayed(m, self.i.shift, _PRODUCT_STAGES, name="amount")

        product_width = self._score_width + Numerics.mantissa_width
        products = []
        for i in range(self._row_width):
            product = self.i.scores[i] * self.i.mantissa
            for stage in range(_PRODUCT_STAGES):
                name = f"product_{i}_{stage}"
                register = Signal(signed(product_width), name=name, reset_less=True)
                m.d.sync += register.eq(product)
                product = register
            # One spare bit below keeps the bit shifted out last, which rounds.
            products.append(Cat(Const(0, 1), product).as_signed())

        limit = (1 << Numerics.max_width - 1) - 1
        for i, shifted in enumerate(shift_right(m, products, amount, name="shifted")):
            rounded = Signal(signed(product_width), name=f"rounded_{i}", reset_less=True)
            m.d.sync += rounded.eq((shifted + 1) >> 1)
            # The limits are integers, so the integer part decides.
            integer = rounded[self._fraction :].as_signed()
            clamped = Signal(signed(self._x.width), name=f"clamped_{i}", reset_less=True)
            m.d.sync += clamped.eq(
                Mux(
                    integer >= limit,
                    limit << self._fraction,
                    Mux(integer < -limit, -limit << self._fraction, wrap(rounded, self._x)),
                )
            )
            m.d.comb += self.o[i].eq(clamped)
        return m
