"""Products of operands that both change, and their running sum: what look-up tables do best."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..formats import I8, NumberFormat
from ..primitive import Primitive

__all__ = ["Accumulator", "BoothProduct", "check_booth"]

MOST_RECODED = 8
MOST_OTHER = 16
"""Longest operands: a row of adders for each two bits of the recoded one, four rows at most, each
with a carry chain as long as the other."""


def check_booth(a: NumberFormat, b: NumberFormat) -> None:
    """Refuse operands that a :class:`BoothProduct` cannot multiply.

    Raises
    ------
    ValueError
        When one is too short, or they are too long.
    """
    short, long = sorted((a.width, b.width))
    if short < 2 or short > MOST_RECODED or long > MOST_OTHER:
        raise ValueError(
            f"Operands of a Booth product must have 2 to {MOST_RECODED} bits, one of them up to "
            f"{MOST_OTHER}, not {a} and {b}; the plain multiplier takes any"
        )


class BoothProduct(Primitive):
    """Multiply two operands in one cycle, up to a carry.

    One operand is recoded into digits from -2 to 2, in radix 4, so that each digit's product is a
    choice between multiples that cost nothing. A negative one is a complement and a 1 beside it.
    The adders of the other digits take their 1 as carry in; that of the lowest digit is left to
    whoever adds up the products, who has a carry in to spare.

    Parameters
    ----------
    a, b : NumberFormat
        Operands, of 2 to 8 bits; one of them up to 16.

    Members
    -------
    i_a, i_b : In
        Operands.
    o : Out(signed)
        The product minus ``o_carry``, one cycle later.
    o_carry : Out(1)
        Belongs to ``o``.
    recodes_b : bool
        Whether ``b`` is the recoded operand: the one of fewer digits is, ``b`` if it is the same.

    Raises
    ------
    ValueError
        When an operand is too short or too long.
    """

    def __init__(self, *, a: NumberFormat = I8, b: NumberFormat = I8) -> None:
        check_booth(a, b)
        self._a, self._b = a, b
        width = a.width + b.width + (not a.is_signed and not b.is_signed)
        super().__init__(
            {"i_a": In(a), "i_b": In(b), "o": Out(signed(width)), "o_carry": Out(1)},
        )

    @property
    def recodes_b(self) -> bool:
        """Whether ``b`` is the recoded operand."""
        return _signed_width(self._b) <= _signed_width(self._a)

    def twin(self) -> Module:
        """Return one multiplier. The lowest digit has two bits, or one if their number is odd."""
        m = Module()
        recoded, number = (self.i_b, self._b) if self.recodes_b else (self.i_a, self._a)
        product = Signal.like(self.o, reset_less=True)
        carry = Signal(reset_less=True)
        is_negative = Signal()
        m.d.comb += [
            is_negative.eq(recoded[1 - _signed_width(number) % 2]),
            self.o.eq(product),
            self.o_carry.eq(carry),
        ]
        m.d.sync += [product.eq(self.i_a * self.i_b - is_negative), carry.eq(is_negative)]
        return m


def _signed_width(number: NumberFormat) -> int:
    """Return the bits of a number with a sign."""
    return number.width + (not number.is_signed)


class Accumulator(Primitive):
    """Add up numbers, each with a carry.

    Parameters
    ----------
    i_width : int
        Bits of a number, signed.
    width : int
        Bits of the sum, signed.

    Members
    -------
    i : In(signed(i_width))
        Number.
    i_carry : In(1)
        Counts 1.
    i_valid : In(1)
        Take both.
    i_first : In(1)
        The sum starts with them.
    o : Out(signed(width))
        The sum, one cycle later; modulo ``2**width``.

    Raises
    ------
    TypeError, ValueError
        When a width is not a positive integer.
    """

    def __init__(self, *, i_width: int, width: int) -> None:
        check_count("Width of a number", i_width)
        check_count("Width", width)
        super().__init__(
            {
                "i": In(signed(i_width)),
                "i_carry": In(1),
                "i_valid": In(1),
                "i_first": In(1),
                "o": Out(signed(width)),
            }
        )

    def twin(self) -> Module:
        """Return the sum as the synthesis tool would build it."""
        m = Module()
        total = Signal.like(self.o, reset_less=True)
        with m.If(self.i_valid):
            m.d.sync += total.eq(Mux(self.i_first, 0, total) + self.i + self.i_carry)
        m.d.comb += self.o.eq(total)
        return m
