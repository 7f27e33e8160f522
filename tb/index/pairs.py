"""Exact model of :mod:`qkloom.rtl.index.pairs`: attention of averaged queries to averaged keys."""

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints, round_shift
from ..lane.reciprocal import exponent, reciprocal
from ..lane.row import base2_scores
from ..quantize import Int8s
from .exp2 import exp2

__all__ = ["pair_shares", "pool_block_means"]


def pool_block_means(x: Int8s, numerics: IndexNumerics) -> Ints:
    """Return the mean (blocks, head_dim) of each block of tokens, ``pool_fraction`` bits more."""
    starts = np.arange(0, len(x), numerics.block)
    sums = np.add.reduceat(x.astype(np.int64), starts, axis=0)
    count = np.minimum(numerics.block, len(x) - starts)
    scale = ((1 << 23) + count // 2) // count
    return round_shift(sums * scale[:, None], 23 - numerics.pool_fraction)


def pair_shares(
    queries: Ints, keys: Ints, mantissa: int, shift: int, numerics: IndexNumerics
) -> Ints:
    """Return the share of each pair (query block, KV block) in its query block's attention.

    In units of ``2**-pair_fraction``; 0 above the diagonal.
    """
    dot = (queries.astype(np.float64) @ keys.T.astype(np.float64)).astype(np.int64)
    dot = round_shift(dot, numerics.pool_fraction)
    x = base2_scores(dot, mantissa, min(shift + numerics.pool_fraction, 63), numerics.lane)
    causal = np.tril(np.ones(x.shape, bool))
    highest = np.where(causal, x, -numerics.lane.x_max).max(axis=1)
    y = np.where(causal, highest[:, None] - x, 0)
    power = exp2(y, fraction=numerics.lane.fraction, exp_fraction=numerics.exp_fraction)
    e = np.where(causal, power, 0)
    total = e.sum(axis=1)
    amount = exponent(total) + 17 - numerics.pair_fraction
    shares: Ints = e * reciprocal(total)[:, None] >> amount[:, None]
    return shares
