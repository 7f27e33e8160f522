"""Exact model of :mod:`qkloom.rtl.index.compress`: int8 keys to int8 means."""

from typing import Any

import numpy as np

from ..formats import Ints
from .forecast import KERNEL, STRIDE

__all__ = ["compress_exactly"]


def compress_exactly(k: Any) -> Ints:
    """Return the means (windows, head_dim) of the complete windows of int8 keys (tokens, head_dim).

    ``(sum + 16) >> 5``, of exact sums: to nearest, ties up.
    """
    k = np.asarray(k, np.int64)
    windows = max((len(k) - KERNEL) // STRIDE + 1, 0)
    halves = k[: (windows + 1) * STRIDE if windows else 0].reshape(-1, STRIDE, k.shape[1])
    sums = halves.sum(axis=1)
    means: Ints = (sums[:-1] + sums[1:] + KERNEL // 2) >> 5
    return means
