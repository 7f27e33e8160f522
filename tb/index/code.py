"""Exact model of :mod:`qkloom.rtl.index.code`: masses as small floating-point numbers."""

import numpy as np
from numpy.typing import ArrayLike

from ..formats import Ints

__all__ = ["decode", "encode"]


def encode(value: ArrayLike, *, fraction: int = 11) -> Ints:
    """Return the codes of values from 0 to below ``2**52``."""
    value = np.asarray(value, np.int64)
    length = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    distance = np.maximum(length - 1 - fraction, 0)
    # The highest 1 of a normal number adds 1 to the exponent.
    code: Ints = (distance << fraction) + (value >> distance)
    return code


def decode(code: ArrayLike, *, fraction: int = 11) -> Ints:
    """Return the smallest value that has each code."""
    code = np.asarray(code, np.int64)
    exponent = code >> fraction
    is_normal = exponent > 0
    value: Ints = ((code & (1 << fraction) - 1) + (is_normal << np.int64(fraction))) << (
        exponent - is_normal
    )
    return value
