"""Narrowing integers exactly as :mod:`qkloom.rtl.formats` does, on int64 arrays."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.formats import NumberFormat

__all__ = ["Ints", "round_shift", "saturate", "wrap"]

Ints: TypeAlias = NDArray[np.int64]


def round_shift(value: ArrayLike, amount: ArrayLike) -> Ints:
    """Return ``value / 2**amount`` rounded to nearest, ties up; ``amount`` is 0 to 63.

    Exact for ``|value| < 2**62``: the bit that rounds sits below the result until the end.
    """
    doubled: Any = np.asarray(value, np.int64) << 1
    result: Ints = ((doubled >> np.asarray(amount, np.int64)) + 1) >> 1
    return result


def saturate(value: ArrayLike, target: NumberFormat) -> Ints:
    """Return ``value``, or the nearest number that ``target`` holds."""
    result: Ints = np.clip(np.asarray(value, np.int64), target.min_raw, target.max_raw)
    return result


def wrap(value: ArrayLike, target: NumberFormat) -> Ints:
    """Keep the low bits of ``value``; ``target`` has at most 62 bits."""
    span = target.max_raw - target.min_raw + 1
    result: Ints = (np.asarray(value, np.int64) - target.min_raw) % span + target.min_raw
    return result
