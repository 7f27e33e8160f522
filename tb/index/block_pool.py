"""Exact model of :mod:`qkloom.rtl.index.block_pool`: means of blocks of tokens."""

import numpy as np

from ..formats import Ints, round_shift
from ..quantize import Int8s

__all__ = ["pool_block_means"]


def pool_block_means(x: Int8s, *, block: int, fraction: int) -> Ints:
    """Return the mean (blocks, head_dim) of each block of tokens, ``fraction`` bits more.

    By a rounded reciprocal of how many tokens a block has; the last one may be short.
    """
    starts = np.arange(0, len(x), block)
    sums = np.add.reduceat(x.astype(np.int64), starts, axis=0)
    count = np.minimum(block, len(x) - starts)
    scale = ((1 << 23) + count // 2) // count
    return round_shift(sums * scale[:, None], 23 - fraction)
