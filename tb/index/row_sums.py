"""Exact model of :mod:`qkloom.rtl.index.row_sums`: what scores of a row are compared with."""

from typing import NamedTuple

import numpy as np

from ..formats import Ints
from ..lane.reciprocal import exponent, reciprocal
from .exp2 import exp2

__all__ = ["RowSum", "row_sums"]


class RowSum(NamedTuple):
    """Of each row.

    Members
    -------
    maximum : array
        Largest score.
    e : array
        Position of the highest 1 of the powers' sum, in which the largest has ``exp_fraction``.
    r : array
        Reciprocal of the sum: ``2**(e + exp_fraction + 17)`` by it, about.
    """

    maximum: Ints
    e: Ints
    r: Ints


def row_sums(x: Ints, *, fraction: int, exp_fraction: int) -> RowSum:
    """Look at scores (n, n) of ``fraction`` bits; those above the diagonal do not count."""
    causal = np.tril(np.ones(x.shape, bool))
    maximum = np.where(causal, x, np.iinfo(np.int64).min).max(axis=1)
    y = np.where(causal, maximum[:, None] - x, 0)
    powers = exp2(y, fraction=fraction, exp_fraction=exp_fraction)
    total = np.where(causal, powers, 0).sum(axis=1)
    return RowSum(maximum, exponent(total) - exp_fraction, reciprocal(total))
