"""Exact model of :mod:`qkloom.rtl.index.masses`: attention of the last queries per KV block."""

from dataclasses import dataclass

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints, round_shift
from ..lane.reciprocal import exponent, reciprocal
from ..lane.row import RowState, base2_scores
from ..quantize import Int8s

__all__ = ["BlockMasses", "block_masses"]


@dataclass(frozen=True)
class BlockMasses:
    """What the last queries of a head make of its KV blocks.

    Members
    -------
    vertical : (blocks,) int64
        Attention of each block column, in units of ``2**-mass_fraction`` of a query's.
    slash : (blocks,) int64
        Attention of each block diagonal, the main one first, likewise.
    mean : (blocks,) int64
        Mean score of each block, keys that a query must not see included.
    """

    vertical: Ints
    slash: Ints
    mean: Ints


def block_masses(
    q: Int8s, k: Int8s, mantissa: int, shift: int, numerics: IndexNumerics
) -> BlockMasses:
    """Return what comes of queries (tokens, head_dim) and keys (tokens, head_dim) of a head."""
    lane, block = numerics.lane, numerics.block
    tokens = len(k)
    rows = min(block, tokens)
    start = tokens - rows
    n = -(-tokens // block)
    queries = q[-rows:].astype(np.float64)
    state = RowState(rows, lane)
    row = np.arange(rows)
    # Within a block, a key up to this one is as many blocks away as the farthest; the others one
    # less.
    boundary, carry = (start + row) % block, (start + row) // block
    maxima = np.zeros((n, rows), np.int64)  # running ones, at the end of each block
    sums = np.zeros((n, 2, rows), np.int64)  # of all keys, and of the farther ones
    score_sums = np.zeros(n, np.int64)
    for b in range(n):
        of_block = slice(b * block, min((b + 1) * block, tokens))
        for first in range(of_block.start, of_block.stop, lane.size):
            keys = np.arange(first, min(first + lane.size, of_block.stop))
            scores = (queries @ k[keys].T.astype(np.float64)).astype(np.int64)
            score_sums[b] += scores.sum()
            step = state.step(
                base2_scores(scores, mantissa, shift, lane), keys <= start + row[:, None]
            )
            far = keys - of_block.start <= boundary[:, None]
            added = np.stack([step.p.sum(axis=-1), np.where(far, step.p, 0).sum(axis=-1)])
            sums[b] = round_shift(sums[b], step.old_shift) + round_shift(
                added << lane.acc_guard, step.new_shift
            )
        maxima[b] = state.maximum
    # Every row's own sum of everything is its unit.
    e, r = exponent(state.total), reciprocal(state.total)
    amount = e + 17 - numerics.mass_fraction + state.maximum - maxima
    shares = (sums * r) >> np.minimum(amount, 63)[:, None, :]
    near, far = shares[:, 0] - shares[:, 1], shares[:, 1]
    slash = np.zeros(n + 1, np.int64)  # one more, in front: what nothing is in
    for b in range(n):
        np.add.at(slash, carry - b + 1, far[b])
        np.add.at(slash, carry - b, near[b])
    count = np.minimum(block, tokens - block * np.arange(n))
    mean = (score_sums << numerics.mean_fraction) // (rows * count)
    return BlockMasses(shares[:, 0].sum(axis=-1), slash[1:], mean)
