"""Base-2 exponential of a distance to the maximum: a line per segment, then a shift."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import Integer
from ..product import Product
from .numerics import Numerics
from .pipeline import delayed, shift_right, shift_stages

__all__ = ["Exp2"]


class Exp2(Component):
    """``2**-y`` as a probability: an integer from 0 to ``p_max``. One element per cycle.

    ::

        fraction of y --> table --> slope * rem --> base - product --> shift --> round --> o
        integer of y ------------------------------------------------> amount

    A small multiplier and no memory: the table is a few LUTs per bit.

    Parameters
    ----------
    segments : int
        Lines that replace the curve on [0, 1).
    fraction : int
        Fraction bits of ``y``.
    p_width : int
        Bits of a probability.
    stream_width : int
        Bits of its digits, which decide ``p_max``.

    Members
    -------
    i : In
        ``y``, unsigned, ``fraction`` fraction bits; ``visible``: 0 makes the result 0.
    o : Out(p_width)
        The probability, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        As :class:`~qkloom.rtl.lane.numerics.Numerics` does.
    """

    def __init__(
        self, *, segments: int, fraction: int, p_width: int, stream_width: int = 8
    ) -> None:
        self._numerics = Numerics(
            size=1,
            head_dim=1,
            tokens=1,
            p_width=p_width,
            segments=segments,
            fraction=fraction,
            stream_width=stream_width,
        )
        y_width = Numerics.max_width + 1 + fraction
        super().__init__(
            {"i": In(data.StructLayout({"y": y_width, "visible": 1})), "o": Out(p_width)}
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return Product.latency + shift_stages(self._numerics.n_max.bit_length()) + 1

    def elaborate(self, platform: object) -> Module:
        """Look up; multiply and subtract; shift; round."""
        m = Module()
        numbers = self._numerics
        rem_width, amount_width = numbers.rem_width, numbers.n_max.bit_length()
        y = Value.cast(self.i.y)
        n = y[numbers.fraction :]

        # The line of this segment, and whether anything will be left after the shift.
        base = Signal(numbers.table_width, reset_less=True)
        slope = Signal(range(max(slope for _, slope in numbers.table) + 1))
        with m.Switch(y[rem_width : numbers.fraction]):
            for segment, (base_value, slope_value) in enumerate(numbers.table):
                with m.Case(segment):
                    m.d.sync += base.eq(base_value)
                    m.d.comb += slope.eq(slope_value)

        # The integer part waits until the shift, where it is the amount.
        waiting = Signal(Product.latency * amount_width, reset_less=True)
        keep = Signal()
        keeps = Signal(self.latency - 1, reset_less=True)
        m.d.comb += keep.eq(self.i.visible & (n <= numbers.n_max))
        m.d.sync += [
            waiting.eq(Cat(n[:amount_width], waiting)),
            keeps.eq(Cat(keep, keeps)),
        ]

        # base - round(slope * rem / 2**rem_width), ties up, as one subtraction: the constant below
        # the base turns the floor of the difference into that rounding.
        line = Signal(numbers.table_width)
        if rem_width:
            m.submodules.product = product = Product(
                a=Integer(len(slope), is_signed=False),
                b=Integer(rem_width, is_signed=False),
                c=Integer(rem_width + len(base), is_signed=False),
            )
            below = Const((1 << rem_width - 1) - 1, rem_width)
            m.d.comb += [
                product.i_a.eq(slope),
                product.i_b.eq(y[:rem_width]),
                product.i_c.eq(Cat(below, base)),
                line.eq(product.o[rem_width:-1]),  # never negative
            ]
        else:
            m.d.comb += line.eq(delayed(m, base, Product.latency - 1, name="line"))

        # Shift by n and the guard bits, less the one that rounding needs.
        amount = waiting[-amount_width:]
        (shifted,) = shift_right(m, [line[numbers.guard - 1 :]], amount, name="shifted")
        result = Signal.like(self.o, reset_less=True)
        m.d.sync += result.eq(0)
        with m.If(keeps[-1]):
            m.d.sync += result.eq(((shifted + 1) >> 1)[: len(result)])
        m.d.comb += self.o.eq(result)
        return m
