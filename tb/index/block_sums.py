"""Exact model of :mod:`qkloom.rtl.index.block_sums`: sums of tokens by place."""

from collections.abc import Iterable

import numpy as np

from ..formats import Ints

__all__ = ["add_chunks"]


def add_chunks(chunks: Iterable[tuple[int, bool, Ints]], *, size: int, places: int) -> Ints:
    """Add up chunks, each with its place and whether it begins a sum; return (places, size)."""
    sums = np.zeros((places, size), np.int64)
    for place, begins, row in chunks:
        sums[place] = row + (0 if begins else sums[place])
    return sums
