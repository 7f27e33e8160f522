"""Scores times their factor: exact integers become base-2 scores in fixed point."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, wrap
from ..product import Product
from .numerics import Numerics
from .pipeline import delayed, shift_right, shift_stages

__all__ = ["Scale"]

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
        ``scores``, with the ``mantissa`` (17 bits) and ``shift`` (6 bits) of all of them; scores
        and mantissa go into registers of :class:`~qkloom.rtl.product.Product` at once.
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
        return Product.latency + shift_stages(Numerics.shift_width) + _ROUND_STAGES

    def elaborate(self, platform: object) -> Module:
        """Multiply; shift; round; clamp."""
        m = Module()
        amount = delayed(m, self.i.shift, Product.latency, name="amount")

        products = []
        for i in range(self._row_width):
            product = Product(
                a=Integer(self._score_width),
                b=Integer(Numerics.mantissa_width, is_signed=False),
            )
            m.submodules[f"product_{i}"] = product
            m.d.comb += [product.i_a.eq(self.i.scores[i]), product.i_b.eq(self.i.mantissa)]
            # One spare bit below keeps the bit shifted out last, which rounds.
            products.append(Cat(Const(0, 1), product.o).as_signed())

        # A bit more than the result, and the spare one: what saturates there is beyond the limit.
        keep = self._x.width + 1
        limit = (1 << Numerics.max_width - 1) - 1
        for i, shifted in enumerate(shift_right(m, products, amount, name="shifted", keep=keep)):
            rounded = Signal(signed(keep), name=f"rounded_{i}", reset_less=True)
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
