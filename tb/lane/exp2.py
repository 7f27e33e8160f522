"""Exact model of :mod:`qkloom.rtl.lane.exp2`: ``2**-x`` in integers."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift

__all__ = ["exp2"]


def exp2(y: ArrayLike, numerics: Numerics) -> Ints:
    """Return ``2**-y`` in units of ``1 / p_max``; ``y >= 0`` has ``numerics.fraction`` bits."""
    codes = _codes(numerics)
    return codes[np.minimum(np.asarray(y, np.int64), len(codes) - 1)]


@lru_cache(maxsize=64)
def _codes(numerics: Numerics) -> Ints:
    """Return the result for each ``y`` up to the first that gives 0: a look-up is all that follows.

    The largest product is slope * rem, below 2**(p_width + 2 + fraction) <= 2**30.
    """
    y = np.arange(((numerics.n_max + 1) << numerics.fraction) + 1)
    base, slope = np.array(numerics.table, np.int64).T
    n, frac = y >> numerics.fraction, y & (1 << numerics.fraction) - 1
    segment, rem = frac >> numerics.rem_width, frac & (1 << numerics.rem_width) - 1
    mantissa = base[segment] - round_shift(slope[segment] * rem, numerics.rem_width)
    codes = np.where(n <= numerics.n_max, round_shift(mantissa, n + numerics.guard), 0)
    codes.flags.writeable = False
    return codes
