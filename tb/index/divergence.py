"""Exact model of :mod:`qkloom.rtl.index.divergence`: how far averages foretell attention."""

import math

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints
from ..lane.reciprocal import exponent, reciprocal
from ..lane.row import base2_scores
from .exp2 import exp2
from .log2 import log2

__all__ = ["distance", "divergence", "foretold"]


def divergence(
    vertical: Ints, mean: Ints, mantissa: int, shift: int, numerics: IndexNumerics
) -> int:
    """Return ``2 D**2 / ln 2`` in units of ``2**-divergence_fraction``, ``D**2`` the divergence."""
    powers = foretold(mean, mantissa, shift, numerics)
    p = _shares(powers, numerics.exp_fraction + 1, numerics)
    v = _shares(vertical, numerics.mass_width, numerics)
    of_sum = log2(p + v) - (1 << numerics.log_fraction)
    total = 0
    for x in (p, v):
        high, low = np.divmod(log2(x) - of_sum, 1 << numerics.log_split)
        total += int((x * high + (x * low >> numerics.log_split)).sum())
    return max(total, 0)


def distance(divergence: int) -> float:
    """Return ``D``, the square root of the Jensen-Shannon divergence, natural logarithm."""
    return math.sqrt(divergence / (1 << IndexNumerics.divergence_fraction) * math.log(2) / 2)


def foretold(mean: Ints, mantissa: int, shift: int, numerics: IndexNumerics) -> Ints:
    """Return ``2**-x`` of the distance of each mean score to the highest."""
    lane = numerics.lane
    x = base2_scores(mean, mantissa, min(shift + numerics.mean_fraction, 63), lane)
    return exp2(x.max() - x, fraction=lane.fraction, exp_fraction=numerics.exp_fraction)


def _shares(x: Ints, width: int, numerics: IndexNumerics) -> Ints:
    """Return each number's share of all, in units of ``2**-share_fraction``."""
    total = x.sum()
    drop = max(width - numerics.product_width, 0)
    amount = int(exponent(total)) + 17 - numerics.share_fraction - drop
    shares: Ints = (x >> drop) * int(reciprocal(total)) >> amount
    return shares
