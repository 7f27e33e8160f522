"""Exact model of :mod:`qkloom.rtl.index.divergence`: how far averages foretell attention."""

import numpy as np

from ...rtl.index.numerics import IndexNumerics, exp_table, log_table
from ..formats import Ints, round_shift
from ..lane.reciprocal import exponent, reciprocal
from ..lane.row import base2_scores

__all__ = ["divergence", "foretold", "log2_of", "normalize_shares"]


def divergence(
    vertical: Ints, mean: Ints, mantissa: int, shift: int, numerics: IndexNumerics
) -> int:
    """Return ``2 D**2 / ln 2`` in units of ``2**-divergence_fraction``, ``D**2`` the divergence."""
    p = normalize_shares(foretold(mean, mantissa, shift, numerics), numerics)
    v = normalize_shares(vertical, numerics)
    s = p + v
    terms = p * log2_of(p, numerics) + v * log2_of(v, numerics) - s * log2_of(s, numerics)
    terms += s << numerics.log_fraction
    drop = numerics.share_fraction + numerics.log_fraction - numerics.divergence_fraction
    return max(int((terms >> drop).sum()), 0)


def foretold(mean: Ints, mantissa: int, shift: int, numerics: IndexNumerics) -> Ints:
    """Return ``2**-x`` of the distance of each mean score to the highest."""
    x = base2_scores(mean, mantissa, min(shift + numerics.mean_fraction, 63), numerics.lane)
    return exp2_of(x.max() - x, numerics)


def exp2_of(y: Ints, numerics: IndexNumerics) -> Ints:
    """Return ``2**-y`` in units of ``2**-exp_fraction``; ``y >= 0``."""
    fraction = numerics.lane.fraction
    table = np.array(exp_table(fraction, numerics.exp_fraction), np.int64)
    powers: Ints = table[y & (1 << fraction) - 1] >> np.minimum(y >> fraction, 63)
    return powers


def normalize_shares(x: Ints, numerics: IndexNumerics) -> Ints:
    """Return each number's share of all, in units of ``2**-share_fraction``."""
    total = x.sum()
    amount = int(exponent(total)) + 17 - numerics.share_fraction
    product = x * int(reciprocal(total))
    shares: Ints = product >> amount if amount >= 0 else product << -amount
    return shares


def log2_of(x: Ints, numerics: IndexNumerics) -> Ints:
    """Return the binary logarithm of integers, of 0 as of 1; ``log_fraction`` bits."""
    x = np.maximum(x, 1)
    e = exponent(x)
    aligned = (x << 31) >> e  # 1 and 31 bits
    fraction = aligned & (1 << 31) - 1
    base, slope = np.array(log_table(numerics.log_fraction, numerics.log_segments), np.int64).T
    segment, rest = fraction >> 23, fraction >> 13 & (1 << 10) - 1
    line = base[segment] + (slope[segment] * rest >> 10)
    return (e << numerics.log_fraction) + round_shift(line, 2)
