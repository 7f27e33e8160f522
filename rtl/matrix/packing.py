"""How several narrow products share one wide multiplier: the arithmetic, and its limits.

A DSP slice multiplies a 27-bit number ``AD`` by an 18-bit number ``B``. With stationary elements
``w0, w1, ...`` at distances of ``f`` bits in ``AD`` and one streaming operand in ``B``, the product
holds one product per element, and a chain of slices holds one sum of products per element::

    AD = w0 + w1 * 2^f            B = b * 2^shift
    P  = (bias + sum b w0) * 2^shift  +  (bias + sum b w1) * 2^(shift + f)

The bias makes every sum a number that is not negative, so that no field borrows from the one above
and fields come apart by wires alone. It also makes the most of a field: ``n`` products fit when
``n`` times the *span* of a product does, the distance from the smallest one to the largest.

The operand stands at the top of ``B``, and stationary elements are offset binary (two's complement
with its sign bit inverted; the offset is taken off by the slice's pre-adder): nothing is ever sign
extended in wires, where each copy of the sign would be one more pin to drive.
"""

from dataclasses import dataclass

from ..formats import Fixed

__all__ = ["Packing"]

A_WIDTH = 27
"""Bits of the multiplier's wider operand, signed (UG579, figure 1-1: 27 x 18 multiplier)."""
B_WIDTH = 18
"""Bits of its narrower operand, signed."""
P_WIDTH = 48
"""Bits of the accumulator."""

LONGEST = 16
"""Most slices in a chain, however many products a field would hold: each adds a cycle."""
SHORTEST = 2
"""Products that a field must hold for it to pay: it costs an adder outside per so many."""


@dataclass(frozen=True)
class Packing:
    """The layout of stationary elements in one multiplier.

    Parameters
    ----------
    stream : Fixed
        Streaming operand.
    stationary : Fixed
        Stationary elements.
    mixed_signs : bool
        Whether operands may be signed or not, so that only the width of ``stream`` counts.

    Members
    -------
    n_fields : int
        Stationary elements in a multiplier; more are only taken when a field still holds some
        products.
    field_width : int
        Distance of the elements, which is also the width of a sum.
    rows : int
        Most products that a field can add up, and so the longest chain.

    Raises
    ------
    ValueError
        When an operand does not fit the multiplier.
    """

    stream: Fixed
    stationary: Fixed
    mixed_signs: bool

    def __post_init__(self) -> None:
        sign = self.operand_width - self.stream.width
        for name, number, most in (
            ("Stationary", self.stationary, A_WIDTH - 1),
            ("Streaming", self.stream, B_WIDTH - sign),
        ):
            if number.width > most:
                raise ValueError(
                    f"{name} operand of a DSP must have at most {most} bits, not {number}"
                )

    def __str__(self) -> str:
        return f"{self.stream}_by_{self.stationary}{'_mixed' if self.mixed_signs else ''}"

    @property
    def operand_width(self) -> int:
        """Bits of a streaming operand as a signed number."""
        return self.stream.width + (self.mixed_signs or not self.stream.is_signed)

    @property
    def shift(self) -> int:
        """Place of the operand in B, and of field 0 in P."""
        return B_WIDTH - self.operand_width

    @property
    def offset(self) -> int:
        """What a stationary element is too large by in offset binary."""
        return -self.stationary.min_raw

    @property
    def least(self) -> int:
        """Smallest product."""
        return min(self._products)

    @property
    def most(self) -> int:
        """Largest product."""
        return max(self._products)

    @property
    def n_fields(self) -> int:
        """Elements in a multiplier."""
        n = 1
        while self._room(n + 1) >= SHORTEST:
            n += 1
        return n

    @property
    def field_width(self) -> int:
        """Distance of the elements."""
        return self._width(self.n_fields)

    @property
    def rows(self) -> int:
        """Longest chain."""
        return min(self._room(self.n_fields), LONGEST)

    @property
    def offsets(self) -> int:
        """What a multiplier's elements in offset binary, seen as one number, are too large by."""
        return sum(self.offset << k * self.field_width for k in range(self.n_fields))

    def bias(self, rows: int) -> int:
        """Return what keeps each sum of ``rows`` products from being negative."""
        return -self.least * rows

    def biases(self, rows: int) -> int:
        """Return the biases of all fields, seen as one number."""
        return sum(self.bias(rows) << k * self.field_width for k in range(self.n_fields))

    @property
    def _products(self) -> list[int]:
        """Products of the extreme operands."""
        low, high = self.stream.min_raw, self.stream.max_raw
        if self.mixed_signs:
            low, high = -(1 << self.stream.width - 1), (1 << self.stream.width) - 1
        ends = self.stationary.min_raw, self.stationary.max_raw
        return [x * w for x in (low, high) for w in ends]

    def _width(self, n: int) -> int:
        """Return the widest distance at which ``n`` elements fit the operand and the accumulator.

        The elements, all of them the most negative or the most positive, fit 27 bits signed, and
        the biased sums, which are not negative, the bits of P above ``shift``.
        """
        width = (P_WIDTH - self.shift) // n
        while n > 1:
            ones = sum(1 << k * width for k in range(n))
            limit = 1 << A_WIDTH - 1
            if self.stationary.min_raw * ones >= -limit and self.stationary.max_raw * ones < limit:
                break
            width -= 1
        return width

    def _room(self, n: int) -> int:
        """Return how many products fit a field when there are ``n``."""
        return ((1 << self._width(n)) - 1) // (self.most - self.least)
