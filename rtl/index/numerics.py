"""The numbers of a coverage unit: what its parameters make of every width and table."""

from dataclasses import dataclass
from functools import cache
from math import ceil, log, log2
from typing import ClassVar

from ..check import check_count
from ..formats import ceil_log2
from ..lane.numerics import Numerics

__all__ = ["IndexNumerics", "exp_table", "log_table", "pair_score_fraction"]

_MULTIPLIER = 27
"""Bits of the wider operand of a multiplier, signed."""


@cache
def exp_table(fraction: int, exp_fraction: int) -> tuple[int, ...]:
    """Return ``2**-x`` for each fraction of a base-2 score, in units of ``2**-exp_fraction``."""
    steps = 1 << fraction
    return tuple(round(2.0 ** (exp_fraction - i / steps)) for i in range(steps))


@cache
def log_table(log_fraction: int, segments: int) -> tuple[tuple[int, int], ...]:
    """Return base and slope of ``log2(1 + x)`` per segment of [0, 1), two bits below the result's.

    A segment is the chord, raised by half its largest distance to the curve.
    """
    scale, rows = 1 << log_fraction + 2, []
    for i in range(segments):
        left, middle, right = (log2(1 + (i + x) / segments) for x in (0, 0.5, 1))
        raised = left + (middle - (left + right) / 2) / 2
        rows.append((round(scale * raised), round(scale * (right - left))))
    return tuple(rows)


def pair_score_fraction(*, width: int, pool_fraction: int, head_dim: int) -> int:
    """Return the bits that a score of pooled vectors keeps below that of tokens.

    As many as a pooled element has, or as a multiplier takes; operands of ``width`` bits.

    Raises
    ------
    ValueError
        When not even the score fits.
    """
    room = _MULTIPLIER - 2 * width - ceil_log2(head_dim)
    if room < 0:
        raise ValueError(
            f"Head dimension must be at most {1 << _MULTIPLIER - 2 * width}, not {head_dim}"
        )
    return min(pool_fraction, room)


@dataclass(frozen=True, kw_only=True)
class IndexNumerics:
    """Everything that decides which KV blocks a coverage unit selects, beside the data.

    Attention of a head's last ``block`` queries is summed up per KV block, in units of
    ``2**-mass_fraction`` of a query's attention; so all blocks together have about ``block`` units.

    Parameters
    ----------
    lane : Numerics
        The numbers of the lanes that compute scores and probabilities.
    block : int
        Tokens of a block, of queries and of keys; up to 128.
    tokens : int
        Longest sequence that is selected from.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of its range.
    """

    lane: Numerics
    block: int
    tokens: int

    share_fraction: ClassVar[int] = 24
    """Bits of a share, of a block in all attention, measured or foretold."""
    exp_fraction: ClassVar[int] = 28
    """Bits of ``2**-x`` where blocks are foretold."""
    log_fraction: ClassVar[int] = 16
    """Bits of a binary logarithm; its error is below ``2**-16``."""
    log_segments: ClassVar[int] = 256
    log_split: ClassVar[int] = 11
    """Low bits of a logarithm that are multiplied apart from the others."""
    divergence_fraction: ClassVar[int] = 29
    """Bits of the divergence, the sum that belongs to its square."""
    product_width: ClassVar[int] = 26
    """Bits of what is multiplied by a reciprocal."""
    pool_fraction: ClassVar[int] = 4
    """Bits of a pooled query or key below the last place of what is pooled."""
    gamma_fraction: ClassVar[int] = 16
    code_fraction: ClassVar[int] = 11
    value_width: ClassVar[int] = 32

    def __post_init__(self) -> None:
        if not isinstance(self.lane, Numerics):
            raise TypeError(f"Lane must be Numerics, not {self.lane!r}")
        check_count("Block", self.block, most=128)
        check_count("Tokens", self.tokens, most=1 << 24)

    @property
    def blocks(self) -> int:
        """Most blocks of a sequence."""
        return -(-self.tokens // self.block)

    # What a row has in a block

    @property
    def partial_width(self) -> int:
        """Bits of the sum of a block's probabilities in one row; one for what rescales round up."""
        return (self.lane.p_max * self.block << self.lane.acc_guard).bit_length() + 1

    @property
    def score_sum_width(self) -> int:
        """Bits of the sum of a block's scores with all rows, signed."""
        return self.lane.score_width + 2 * ceil_log2(self.block)

    @property
    def mean_fraction(self) -> int:
        """Bits of a mean score below the score's last place: as many as a multiplier takes."""
        return min(6, 27 - self.lane.score_width)

    @property
    def mean_width(self) -> int:
        """Bits of a block's mean score, signed."""
        return self.lane.score_width + self.mean_fraction

    @property
    def mass_fraction(self) -> int:
        """Bits of a mass below one query's attention."""
        least_sum = self.lane.p_width + self.lane.acc_guard - 1  # binary logarithm
        return min(24, least_sum + 17, 31 - ceil_log2(self.block))

    @property
    def mass_width(self) -> int:
        """Bits of a mass; the spare one holds what reciprocals may round up to."""
        return self.mass_fraction + ceil_log2(self.block) + 1

    # Query-aware

    @property
    def pooled_width(self) -> int:
        """Bits of an element of a pooled query or key, signed."""
        return max(self.lane.stream_width, self.lane.stationary_width) + self.pool_fraction

    @property
    def pair_score_fraction(self) -> int:
        """Bits of a score of pooled vectors below the last place of a score of tokens."""
        return pair_score_fraction(
            width=self.pooled_width - self.pool_fraction,
            pool_fraction=self.pool_fraction,
            head_dim=self.lane.head_dim,
        )

    @property
    def pair_fraction(self) -> int:
        """Bits of a pair's probability; those of a block row sum up to one."""
        return 30 - ceil_log2(self.blocks)

    # What a host is asked for

    @classmethod
    def encode_gamma(cls, gamma: float) -> int:
        """Return a share of attention as the unit takes it: 0 to ``2**16``."""
        return round(gamma * (1 << cls.gamma_fraction))

    @classmethod
    def encode_tau(cls, tau: float) -> int:
        """Return the limit of the divergence's square that belongs to ``tau``, 0 to 1.

        ``D**2 = J * ln(2) / 2``, where ``J`` is the sum that the unit has.
        """
        return ceil(2 * tau * tau / log(2) * (1 << cls.divergence_fraction))
