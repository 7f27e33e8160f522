"""Exact model of :mod:`qkloom.rtl.adder.tree`, and of the adders that trees are made of."""

from collections.abc import Sequence

__all__ = ["total"]


def total(
    planes: Sequence[Sequence[int]], *, width: int, constant: int = 0, subtract: bool = False
) -> int:
    """Return the sum of all numbers and a constant, as ``width`` bits.

    Parameters
    ----------
    planes : sequence of sequences of int
        Numbers of plane p count ``2**p`` times.
    width, constant : int
        Bits of the result, and what is added.
    subtract : bool
        Whether the last plane is subtracted.
    """
    sums = [sum(numbers) << p for p, numbers in enumerate(planes)]
    if subtract:
        sums[-1] = -sums[-1]
    return (sum(sums) + constant) & (1 << width) - 1
