"""The numbers of a lane: what its parameters make of every width, range and table."""

from dataclasses import dataclass, fields
from functools import cached_property
from math import floor
from typing import ClassVar

from ..formats import ceil_log2

__all__ = ["Numerics"]


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Everything that decides the bits of a lane's results, beside the data.

    Scores become base-2 scores with ``fraction`` fraction bits. Probabilities become integers from
    0 to ``p_max`` and enter the second product as one or two digits, of the width of the streaming
    operand. RTL and exact models read the same object.

    Parameters
    ----------
    size : int
        Rows and columns of the matrix unit; a tile holds this many keys.
    head_dim : int
        Largest head_dim, a multiple of ``size``.
    tokens : int
        Longest sequence; decides the widths of sum and accumulator.
    p_width : int
        Bits of a probability: 7 to 16, or 4 to 8 if ``stream_width`` is 4. Up to ``stream_width``
        they are one digit, which takes one pass over the array; above, two digits and two passes.
    segments : int
        Pieces of the piecewise linear ``2**-x`` on [0, 1): a power of two, 4 to 64.
    fraction : int
        Fraction bits of a base-2 score, 6 to 12.
    stream_width, stationary_width : int
        Bits of what streams (queries, and digits of probabilities) and of what is stationary (keys
        and values): 4 or 8.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not an integer, or out of its range.
    """

    size: int
    head_dim: int
    tokens: int
    p_width: int = 14
    segments: int = 8
    fraction: int = 10
    stream_width: int = 8
    stationary_width: int = 8

    mantissa_width: ClassVar[int] = 17
    """Bits of the mantissa of the score factor, unsigned."""
    shift_width: ClassVar[int] = 6
    """Bits of a shift amount: of the score factor, and of a rescale."""
    max_width: ClassVar[int] = 16
    """Bits of a maximum, of a tile or running (an integer, signed)."""
    guard: ClassVar[int] = 2
    """Bits that ``2**-x`` has below the last place of a probability."""
    acc_guard: ClassVar[int] = 4
    """Bits that sums and accumulators keep below the last place of a probability."""
    out_integer: ClassVar[int] = 8
    out_fraction: ClassVar[int] = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{_sentence(field.name)} must be an integer, not {value!r}")
        if self.size < 1:
            raise ValueError(f"Size must be a positive integer, not {self.size}")
        if self.head_dim < 1 or self.head_dim > 1024 or self.head_dim % self.size:
            raise ValueError(
                f"Head_dim must be a multiple of size {self.size} up to 1024, not {self.head_dim}"
            )
        if not 1 <= self.tokens <= 1 << 24:
            raise ValueError(f"Tokens must be 1 to {1 << 24}, not {self.tokens}")
        for name in ("stream_width", "stationary_width"):
            if getattr(self, name) not in (4, 8):
                raise ValueError(f"{_sentence(name)} must be 4 or 8, not {getattr(self, name)}")
        widths = self.p_widths(self.stream_width)
        if self.p_width not in widths:
            raise ValueError(
                f"P_width must be {widths[0]} to {widths[-1]} when stream_width is "
                f"{self.stream_width}, not {self.p_width}"
            )
        if self.segments not in (4, 8, 16, 32, 64):
            raise ValueError(f"Segments must be a power of two from 4 to 64, not {self.segments}")
        if not 6 <= self.fraction <= 12:
            raise ValueError(f"Fraction must be 6 to 12, not {self.fraction}")

    @staticmethod
    def p_widths(stream_width: int) -> range:
        """Return what ``p_width`` may be."""
        return range(7 if stream_width == 8 else 4, 2 * stream_width + 1)

    # Scores

    @property
    def score_width(self) -> int:
        """Bits of a score, the exact sum of ``head_dim`` products of two operands."""
        return self.stream_width + self.stationary_width + ceil_log2(self.head_dim)

    @property
    def x_width(self) -> int:
        """Bits of a base-2 score: 16 integer bits and the fraction, signed."""
        return self.max_width + self.fraction

    @property
    def x_max(self) -> int:
        """Largest base-2 score, in units of its last place; the smallest is its negative."""
        return ((1 << self.max_width - 1) - 1) << self.fraction

    @property
    def max_init(self) -> int:
        """Running maximum of a row that has seen no key: below every base-2 score."""
        return -(1 << self.max_width - 1)

    @property
    def rescale_max(self) -> int:
        """Largest shift of a rescale; it clears a sum of any width."""
        return (1 << self.shift_width) - 1

    # Probabilities

    @property
    def digits(self) -> int:
        """Digits of a probability: passes of the second product over the array."""
        return 1 if self.p_width <= self.stream_width else 2

    @property
    def digit_bits(self) -> int:
        """Binary logarithm of ``digit_base``."""
        return self.p_width if self.digits == 1 else (self.p_width + 1) // 2

    @property
    def digit_base(self) -> int:
        """Weight of the high digit, if there are two: p = high * digit_base + low."""
        return 1 << self.digit_bits

    @property
    def digit_is_signed(self) -> bool:
        """Whether digits are two's complement. A single digit counts as unsigned."""
        return self.stream_width < self.p_width < 2 * self.stream_width

    @property
    def digit_planes(self) -> int:
        """Bits that digits need: above them is nothing, or copies of the sign."""
        if self.digits == 1:
            return self.p_width
        if not self.digit_is_signed:
            return self.stream_width
        highest = (self.p_max + self.digit_base // 2) >> self.digit_bits
        return max(self.digit_bits, highest.bit_length() + 1)

    @property
    def p_max(self) -> int:
        """Largest probability, the code of 1.0; signed digits may end before ``2**p_width - 1``."""
        full = (1 << self.p_width) - 1
        if not self.digit_is_signed:
            return full
        highest = (1 << self.stream_width - 1) - 1
        high = min(highest, 1 << self.p_width - self.digit_bits)
        return min(full, high * self.digit_base + self.digit_base // 2 - 1)

    @property
    def sum_width(self) -> int:
        """Bits of a row sum, unsigned. The spare bit holds what rounding up at rescales may add."""
        return self.p_width + self.acc_guard + ceil_log2(self.tokens) + 1

    @property
    def exponent_width(self) -> int:
        """Bits of the exponent of a row sum, which outputs are shifted by."""
        return ceil_log2(self.sum_width)

    @property
    def acc_width(self) -> int:
        """Bits of an output accumulator, signed."""
        return self.p_width + self.stationary_width + self.acc_guard + ceil_log2(self.tokens)

    # 2**-x on [0, 1)

    @property
    def segment_bits(self) -> int:
        """Leading fraction bits that select a segment."""
        return ceil_log2(self.segments)

    @property
    def rem_width(self) -> int:
        """Fraction bits below the segment; may be 0."""
        return self.fraction - self.segment_bits

    @property
    def table_width(self) -> int:
        """Bits of a base or a slope of the table, unsigned."""
        return self.p_width + self.guard

    @property
    def n_max(self) -> int:
        """Largest integer part of a distance to the maximum whose probability may be above zero."""
        return self.p_width + 1

    @cached_property
    def table(self) -> tuple[tuple[int, int], ...]:
        """Base and slope of each segment, scaled by ``p_max << guard``.

        A segment is the chord of ``2**-x``, lowered by half its largest distance to the curve.
        """
        scale = self.p_max << self.guard
        rows = []
        for i in range(self.segments):
            left, middle, right = (2.0 ** -((i + x) / self.segments) for x in (0, 0.5, 1))
            lowered = left - ((left + right) / 2 - middle) / 2
            rows.append((floor(scale * lowered + 0.5), floor(scale * (left - right) + 0.5)))
        return tuple(rows)

    # Output

    @property
    def out_width(self) -> int:
        """Bits of an output, ``Fixed(8, 16)``: in units of the values' scale."""
        return self.out_integer + self.out_fraction


def _sentence(name: str) -> str:
    return name[0].upper() + name[1:]
