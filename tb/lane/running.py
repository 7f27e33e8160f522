"""Exact models of what a row keeps, of :mod:`~qkloom.rtl.lane.maximum` and ``total`` beside it."""

from collections.abc import Hashable, Iterable

from ...rtl.lane.numerics import Numerics
from ..formats import round_shift

__all__ = ["RunningMaxima", "RunningSums"]


class RunningMaxima:
    """Largest element of each row so far, rounded up to an integer."""

    def __init__(self) -> None:
        self._maxima: dict[Hashable, int] = {}

    def step(self, row: Hashable, x: Iterable[int], *, first: bool) -> tuple[int, int]:
        """Take a tile's row, with one fraction bit; return its maximum, and that of all before.

        Parameters
        ----------
        row : hashable
            Which row.
        x : iterable of int
            Its elements.
        first : bool
            Whether there is nothing before.
        """
        of_tile = -(-max(x) >> 1)
        lowest = -(1 << Numerics.max_width - 1)
        before = lowest if first else self._maxima[row]
        self._maxima[row] = of_tile if first else max(before, of_tile)
        return of_tile, before


class RunningSums:
    """Sum of the probabilities of each row so far."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, int] = {}

    def step(
        self, row: Hashable, p: Iterable[int], *, amount: int, of_new: bool, first: bool
    ) -> int:
        """Take a tile's row; return the sum of it and of all before, one of both shifted.

        Parameters
        ----------
        row : hashable
            Which row.
        p : iterable of int
            Its probabilities.
        amount, of_new : int, bool
            Right shift, of the tile's sum or else of all before.
        first : bool
            Whether there is nothing before.
        """
        old = 0 if first else self._sums[row]
        new = sum(p) << Numerics.acc_guard
        shifts = (0, amount) if of_new else (amount, 0)
        self._sums[row] = int(round_shift(old, shifts[0]) + round_shift(new, shifts[1]))
        return self._sums[row]
