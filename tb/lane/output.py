"""Exact model of :mod:`qkloom.rtl.lane.output`: probabilities times values, summed over steps."""

from numpy.typing import ArrayLike

from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift
from .row import combine

__all__ = ["accumulate"]


def accumulate(
    acc: ArrayLike,
    sums: ArrayLike,
    numerics: Numerics,
    *,
    old_shift: ArrayLike = 0,
    new_shift: ArrayLike = 0,
) -> Ints:
    """Return the accumulators after a step, in units of ``1 / (p_max << acc_guard)``.

    Parameters
    ----------
    acc : array_like
        Accumulators before; zeros in the first step.
    sums : (digits, ...) array_like
        Sums from the matrix unit for each digit of the probabilities, the high one first.
    numerics : Numerics
        The numbers of the lane.
    old_shift, new_shift : array_like
        Right shift of ``acc`` and of what the step adds, as of
        :class:`~qkloom.tb.lane.row.RowStep`.
    """
    added = combine(sums, numerics) << numerics.acc_guard
    return round_shift(acc, old_shift) + round_shift(added, new_shift)
