"""Exact model of :mod:`qkloom.rtl.lane.row`: base-2 online softmax of the rows of a query block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift
from .exp2 import exp2

__all__ = ["RowState", "RowStep", "base2_scores", "combine", "split", "visible_keys"]


def base2_scores(
    scores: ArrayLike, mantissa: ArrayLike, shift: ArrayLike, numerics: Numerics
) -> Ints:
    """Return the scores times ``mantissa / 2**shift``, rounded and clamped.

    A score has at most 26 bits (head_dim 1024), so the product stays below 2**43.
    """
    product: Ints = np.asarray(scores, np.int64) * np.asarray(mantissa, np.int64)
    return np.clip(round_shift(product, shift), -numerics.x_max, numerics.x_max)


def visible_keys(
    rows: int, keys: int, numerics: Numerics, *, diagonal: int | None = None
) -> np.ndarray:
    """Return which of a tile's ``size`` keys each row sees, as bool of (rows, size).

    Parameters
    ----------
    rows : int
        Query rows.
    keys : int
        Keys of the tile that exist.
    diagonal : int, optional
        Causal: row ``i`` sees key ``k`` when ``k <= diagonal + i``.
    """
    key = np.arange(numerics.size)
    visible = np.broadcast_to(key < keys, (rows, numerics.size))
    return visible if diagonal is None else visible & (key <= diagonal + np.arange(rows)[:, None])


@dataclass(frozen=True)
class RowStep:
    """What the row unit makes of one row of scores, or of many.

    Members
    -------
    p : (..., keys) int64
        Probabilities, 0 to ``p_max``; 0 where a key is not visible.
    old_shift : (...) int64
        Right shift of what the row has accumulated so far.
    new_shift : (...) int64
        Right shift of what this step adds; one of the two is 0.
    """

    p: Ints
    old_shift: Ints
    new_shift: Ints


class RowState:
    """Running maximum and sum of query rows.

    Parameters
    ----------
    shape : int or tuple of int
        How many rows; any number of axes.
    numerics : Numerics
        The numbers of the lane.

    Members
    -------
    maximum : (*shape) int64
        Running maximum of the base-2 scores, rounded up to an integer.
    total : (*shape) int64
        Sum of the probabilities at the running maximum, in units of ``1 / (p_max << acc_guard)``.
    """

    def __init__(self, shape: int | tuple[int, ...], numerics: Numerics) -> None:
        self._numerics = numerics
        self.maximum: Ints = np.full(shape, numerics.max_init, np.int64)
        self.total: Ints = np.zeros(shape, np.int64)

    def step(self, x: ArrayLike, visible: ArrayLike) -> RowStep:
        """Take the base-2 scores of more keys, ``(*shape, keys)``, and whether each is visible.

        Distances to the maximum are below 2**(17 + fraction), sums below 2**(p_width + 28).
        """
        x, visible = np.asarray(x, np.int64), np.asarray(visible, bool)
        fraction = self._numerics.fraction
        # The floor stands for "no key": every score is at least -x_max, so it never wins.
        floor = self._numerics.max_init << fraction
        highest = np.max(np.where(visible, x, floor), axis=-1, initial=floor)
        of_tile = -(-highest >> fraction)
        maximum = np.maximum(self.maximum, of_tile)
        old_shift, new_shift = (
            np.minimum(maximum - part, self._numerics.rescale_max)
            for part in (self.maximum, of_tile)
        )
        y = np.where(visible, (of_tile[..., None] << fraction) - x, 0)
        p = np.where(visible, exp2(y, self._numerics), 0)
        self.maximum = maximum
        added = p.sum(axis=-1) << self._numerics.acc_guard
        self.total = round_shift(self.total, old_shift) + round_shift(added, new_shift)
        return RowStep(p, old_shift, new_shift)


def split(p: ArrayLike, numerics: Numerics) -> Ints:
    """Return the digits of probabilities on a new first axis, high digit first."""
    p = np.asarray(p, np.int64)
    if numerics.digits == 1:
        return p[None]
    base = numerics.digit_base
    offset = base // 2 if numerics.digit_is_signed else 0
    low = (p + offset) % base - offset
    return np.stack([(p - low) // base, low])


def combine(sums: ArrayLike, numerics: Numerics) -> Ints:
    """Return what sums of products with each digit stand for: the inverse of :func:`split`."""
    sums = np.asarray(sums, np.int64)
    result: Ints = sums[0] if numerics.digits == 1 else sums[0] * numerics.digit_base + sums[1]
    return result
