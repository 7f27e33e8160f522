"""Exact model of :mod:`qkloom.rtl.lane.requantize`: outputs as integers of 8 bits."""

from numpy.typing import ArrayLike

from ...rtl.formats import Integer
from ...rtl.lane.numerics import Numerics
from ..formats import Ints, round_shift, saturate

__all__ = ["requantize"]


def requantize(output: ArrayLike) -> Ints:
    """Return raw ``Fixed(8, 16)`` rounded to integers, ties up; at most 127."""
    return saturate(round_shift(output, Numerics.out_fraction), Integer(8))
