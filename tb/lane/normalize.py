"""Exact model of :mod:`qkloom.rtl.lane.normalize`: accumulators over row sums."""

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.formats import Fixed
from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift, saturate
from .reciprocal import align, exponent, reciprocal

__all__ = ["normalize"]


def normalize(acc: ArrayLike, total: ArrayLike) -> Ints:
    """Return ``acc / total`` as raw ``Fixed(8, 16)``; zeros where ``total`` is 0.

    Rounding at rescales leaves ``total`` at most half a unit too small (a shift by one never rounds
    down, and earlier errors shrink by the shift), and ``acc`` at most one unit off. So
    ``|acc| <= 128 * (total + 1/2) + 1``, and an aligned accumulator has 27 bits; its product with
    the 17-bit reciprocal has 44.

    Parameters
    ----------
    acc : (..., n) array_like
        Accumulators of a row.
    total : (...) array_like
        Its row sum.
    """
    total = np.asarray(total, np.int64)
    safe = np.maximum(total, 1)  # the division must be defined where its result is not used
    aligned = align(acc, exponent(safe)[..., None])
    quotient = round_shift(aligned * reciprocal(safe)[..., None], 19)
    out = saturate(quotient, Fixed(Numerics.out_integer, Numerics.out_fraction))
    return np.where(total[..., None] == 0, 0, out)
