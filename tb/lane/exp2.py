"""Exact model of :mod:`qkloom.rtl.lane.exp2`: ``2**-x`` in integers."""

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift

__all__ = ["exp2"]


def exp2(y: ArrayLike, numerics: Numerics) -> Ints:
    """Return ``2**-y`` in units of ``1 / p_max``, for ``y >= 0`` with ``numerics.fraction`` bits.

    The largest product is slope * rem, below 2**(p_width + 2 + fraction) <= 2**30.
    """
    y = np.asarray(y, np.int64)
    base, slope = np.array(numerics.table, np.int64).T
    n, frac = y >> numerics.fraction, y & (1 << numerics.fraction) - 1
    segment, rem = frac >> numerics.rem_width, frac & (1 << numerics.rem_width) - 1
    mantissa = base[segment] - round_shift(slope[segment] * rem, numerics.rem_width)
    shift = np.minimum(n, numerics.n_max) + numerics.guard
    return np.where(n <= numerics.n_max, round_shift(mantissa, shift), 0)
