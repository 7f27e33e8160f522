"""Exact model of :mod:`qkloom.rtl.index.log2`: binary logarithms of integers."""

import numpy as np

from ...rtl.index.numerics import IndexNumerics, log_table
from ..formats import Ints, round_shift
from ..lane.reciprocal import exponent

__all__ = ["log2"]


def log2(x: Ints) -> Ints:
    """Return the logarithm, ``log_fraction`` bits, of integers below ``2**31``; of 0 as of 1."""
    x = np.maximum(x, 1)
    e = exponent(x)
    fraction = (x << 31 >> e) & (1 << 31) - 1
    table = log_table(IndexNumerics.log_fraction, IndexNumerics.log_segments)
    base, slope = np.array(table, np.int64).T
    segment, rest = fraction >> 23, fraction >> 13 & (1 << 10) - 1
    line = base[segment] + (slope[segment] * rest >> 10)
    return (e << IndexNumerics.log_fraction) + round_shift(line, 2)
