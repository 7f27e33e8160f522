"""Exact model of :mod:`qkloom.rtl.lane.reciprocal`: one reciprocal per query row."""

import numpy as np
from numpy.typing import ArrayLike

from ..formats import Ints

__all__ = ["align", "exponent", "reciprocal"]


def exponent(total: ArrayLike) -> Ints:
    """Return ``floor(log2(total))``, exact for 1 <= total < 2**53."""
    mantissa_exponent: Ints = np.frexp(np.asarray(total, np.float64))[1].astype(np.int64)
    return mantissa_exponent - 1


def align(value: ArrayLike, exponent: ArrayLike) -> Ints:
    """Return ``floor(value * 2**(18 - exponent))``.

    Left shifts happen only where a row sum is below 2**18; its accumulators are far below 2**45.
    """
    value, amount = np.asarray(value, np.int64), 18 - np.asarray(exponent, np.int64)
    return (value << np.maximum(amount, 0)) >> np.maximum(-amount, 0)


def reciprocal(total: ArrayLike) -> Ints:
    """Return ``2**35 / total`` aligned: 17 bits, in [2**16, 2**17), for ``total >= 1``."""
    result: Ints = ((1 << 35) - 1) // align(total, exponent(total))
    return result
