"""Exact model of :mod:`qkloom.rtl.lane.normalize`: accumulators over row sums."""

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.formats import Fixed, Integer
from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift, saturate
from .reciprocal import align, exponent, reciprocal

__all__ = ["normalize"]


def normalize(acc: ArrayLike, total: ArrayLike) -> Ints:
    """Return ``acc / total`` as raw ``Fixed(8, 16)``; zeros where ``total`` is 0.

    An aligned accumulator saturates at 27 bits, which changes no result: beyond them, the output
    saturates anyway. But for the rounding of each tile's share, ``|acc|`` is at most
    ``2**(stationary_width - 1) * total``. The product with the 17-bit reciprocal has 44 bits.

    Parameters
    ----------
    acc : (..., n) array_like
        Accumulators of a row.
    total : (...) array_like
        Its row sum.
    """
    total = np.asarray(total, np.int64)
    safe = np.maximum(total, 1)  # the division must be defined where its result is not used
    aligned = saturate(align(acc, exponent(safe)[..., None]), Integer(27))
    quotient = round_shift(aligned * reciprocal(safe)[..., None], 19)
    out = saturate(quotient, Fixed(Numerics.out_integer, Numerics.out_fraction))
    return np.where(total[..., None] == 0, 0, out)
