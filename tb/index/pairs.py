"""Exact model of :mod:`qkloom.rtl.index.pairs`: attention of averaged queries to averaged keys."""

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints, round_shift
from ..lane.row import base2_scores
from .pair_share import row_shares
from .row_sums import row_sums

__all__ = ["pair_shares"]


def pair_shares(
    queries: Ints, keys: Ints, mantissa: int, shift: int, numerics: IndexNumerics
) -> Ints:
    """Return the share of each pair (query block, KV block) in its query block's attention.

    In units of ``2**-pair_fraction``; 0 above the diagonal.
    """
    dot = (queries.astype(np.float64) @ keys.T.astype(np.float64)).astype(np.int64)
    kept = numerics.pair_score_fraction
    dot = round_shift(dot, 2 * numerics.pool_fraction - kept)
    x = np.tril(base2_scores(dot, mantissa, min(shift + kept, 63), numerics.lane))
    powers = {"fraction": numerics.lane.fraction, "exp_fraction": numerics.exp_fraction}
    rows = row_sums(x, **powers)
    below = np.minimum(x, rows.maximum[:, None])  # what does not count may be larger
    return np.tril(row_shares(below, rows, blocks=numerics.blocks, **powers))
