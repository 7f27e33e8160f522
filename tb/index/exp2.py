"""Exact model of :mod:`qkloom.rtl.index.exp2`: powers from a table."""

import numpy as np

from ...rtl.index.numerics import exp_table
from ..formats import Ints

__all__ = ["exp2"]


def exp2(y: Ints, *, fraction: int, exp_fraction: int) -> Ints:
    """Return ``2**-y`` in units of ``2**-exp_fraction``, cut off; ``y >= 0``."""
    table = np.array(exp_table(fraction, exp_fraction), np.int64)
    powers: Ints = table[y & (1 << fraction) - 1] >> np.minimum(y >> fraction, 63)
    return powers
