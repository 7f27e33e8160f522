"""Exact model of :mod:`qkloom.rtl.product`."""

import numpy as np
from numpy.typing import ArrayLike

from .formats import Ints

__all__ = ["product"]


def product(a: ArrayLike, b: ArrayLike, c: ArrayLike | None = None, *, constant: int = 0) -> Ints:
    """Return ``a * b + constant``, or ``c - a * b``; 48 bits hold it, so that int64 is exact."""
    products: Ints = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return products + constant if c is None else np.asarray(c, np.int64) - products
