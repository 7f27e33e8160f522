"""Exact model of :mod:`qkloom.rtl.index.blocks`: scores of blocks from those of windows."""

from typing import Any, NamedTuple

import numpy as np

from ..formats import Ints

__all__ = ["Pooled", "pool_exactly"]

_PER_BLOCK = 4


class Pooled(NamedTuple):
    """Blocks that may be chosen.

    Members
    -------
    scores : array
        Of each block; the lowest number of ``score_width`` bits if it has no window.
    forced : bool array
        Whether it is taken anyway.
    flat : bool
        All scores are equal.
    """

    scores: Ints
    forced: Any
    flat: bool


def pool_exactly(
    scores: Any, *, n_blocks: int, seen: int, init: int, until_local: int, score_width: int
) -> Pooled:
    """Pool the scores of windows, as ``pooling_layout`` of the hardware asks for it."""
    lowest = -(1 << score_width - 1)
    given = np.asarray(scores, np.int64)[: _PER_BLOCK * n_blocks]
    padded = np.full(_PER_BLOCK * n_blocks + 1, lowest, np.int64)
    padded[1 : 1 + len(given)] = given
    if n_blocks:
        padded[len(padded) - (_PER_BLOCK - 1 - seen) :] = lowest
    touching = [padded[k : k + _PER_BLOCK * (n_blocks - 1) + 1 : _PER_BLOCK] for k in range(5)]
    pooled = np.max(touching, axis=0) if n_blocks else padded[:0]
    block = np.arange(n_blocks)
    forced = (block < init) | (block >= until_local)
    return Pooled(pooled, forced, bool(n_blocks == 0 or (pooled == pooled[0]).all()))
