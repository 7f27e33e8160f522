"""Products of two operands that both change, with a sum behind: one DSP slice each."""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from .formats import Fixed
from .matrix.packing import A_WIDTH, B_WIDTH, P_WIDTH
from .primitive import Primitive

__all__ = ["Product"]


class Product(Primitive):
    """``a * b + constant``, or ``c - a * b``: a multiplier, an adder and all their registers.

    ::

        i_a --> A --+
                    v
                   (*) --> M --> (+) --> P --> o
                    ^             ^
        i_b --> B --+             constant, or C <-- i_c

    On UltraScale+ these are the registers of one DSP slice. Both bodies have the same ones, under
    the same names.

    Parameters
    ----------
    a, b : Fixed
        Operands, integers: of at most 27 and 18 bits with a sign, which an unsigned one gets.
    c : Fixed, optional
        What the product is subtracted from, an integer.
    constant : int
        What is added to the product if there is no ``c``.

    Members
    -------
    i_a, i_b : In
        Operands.
    i_c : In
        Only with ``c``: what belongs to the operands of the cycle before.
    o : Out(signed)
        The result, as wide as it can get; ``latency`` cycles after the operands.
    latency : int
        Cycles from the operands to ``o``: 3. One pair of operands enters a cycle.

    Raises
    ------
    TypeError
        When an operand is no integer format.
    ValueError
        When an operand or the result is too wide, or there are both ``c`` and a constant.
    """

    latency: ClassVar[int] = 3

    def __init__(self, *, a: Fixed, b: Fixed, c: Fixed | None = None, constant: int = 0) -> None:
        for name, operand, most in (("a", a, A_WIDTH), ("b", b, B_WIDTH)):
            _check_integer(name, operand)
            if _signed_width(operand) > most:
                raise ValueError(f"Operand {name} must fit {most} signed bits, not be {operand}")
        products = [x * y for x in (a.min_raw, a.max_raw) for y in (b.min_raw, b.max_raw)]
        low, high = min(products) + constant, max(products) + constant
        members = {"i_a": In(a), "i_b": In(b)}
        if c is not None:
            _check_integer("c", c)
            if constant:
                raise ValueError(f"The constant beside c must be 0, not {constant}")
            low, high = c.min_raw - high, c.max_raw - low
            members["i_c"] = In(c)
        width = max((-low - 1).bit_length(), high.bit_length()) + 1
        if width > P_WIDTH:
            raise ValueError(f"A result must fit {P_WIDTH} signed bits, not {width}")
        self._a, self._b, self._c, self._constant = a, b, c, constant
        super().__init__({**members, "o": Out(signed(width))})

    def twin(self) -> Module:
        """Return one multiplier of signed numbers, one sum, and the registers."""
        m = Module()
        a = Signal(signed(_signed_width(self._a)), reset_less=True)
        b = Signal(signed(_signed_width(self._b)), reset_less=True)
        product = Signal(signed(len(a) + len(b)), name="m", reset_less=True)
        p = Signal.like(self.o, name="p", reset_less=True)
        m.d.sync += [a.eq(self.i_a), b.eq(self.i_b), product.eq(a * b)]
        if self._c is None:
            m.d.sync += p.eq(product + self._constant)
        else:
            c = Signal(self._c, reset_less=True)
            m.d.sync += [c.eq(self.i_c), p.eq(c - product)]
        m.d.comb += self.o.eq(p)
        return m


def _check_integer(name: str, operand: object) -> None:
    if not isinstance(operand, Fixed) or operand.f:
        raise TypeError(f"Operand {name} must be an integer format, not {operand!r}")


def _signed_width(operand: Fixed) -> int:
    """Return the bits of an operand with a sign."""
    return operand.width + (not operand.is_signed)
