"""Shares of pairs against float64, and how far rounding moves them."""

import numpy as np
import pytest

from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.index.pair_share import row_shares
from qkloom.tb.index.pairs import pair_shares
from qkloom.tb.index.pool import block_means, softmax
from qkloom.tb.index.row_sums import row_sums


def numerics_of(*, head_dim, blocks, block=16, fraction=10):
    lane = Numerics(size=1, head_dim=head_dim, tokens=blocks * block, fraction=fraction)
    return IndexNumerics(lane=lane, block=block, tokens=blocks * block)


@pytest.mark.parametrize("head_dim", [4, 64, 128, 256, 1024])
@pytest.mark.parametrize("sharp", [1, 20])
def test_near_to_float64(head_dim, sharp):
    numerics = numerics_of(head_dim=head_dim, blocks=20)
    rng = np.random.default_rng(head_dim)
    q, k = (
        np.clip(rng.normal(0, 40, (320, head_dim)) + rng.normal(0, 30, (1, head_dim)), -128, 127)
        for _ in range(2)
    )
    q, k = (np.round(x).astype(np.int8) for x in (q, k))
    # Scores whose standard deviation is about `sharp`, in base 2.
    means = [block_means(x.astype(float), 16) for x in (q, k)]
    exact = means[0] @ means[1].T
    factor = sharp / exact.std() * 2.0**numerics.lane.fraction
    shift = int(np.floor(16 - np.log2(factor)))
    mantissa = round(factor * 2.0**shift)
    pooled = [pool_block_means(x, block=16, fraction=4) for x in (q, k)]
    shares = pair_shares(*pooled, mantissa, shift, numerics) / (1 << numerics.pair_fraction)
    scores = np.where(np.tril(np.ones((20, 20), bool)), exact * sharp / exact.std(), -np.inf)
    real = softmax(scores * np.log(2))
    assert np.abs(shares - real).max() < 0.02 * sharp
    assert np.abs(shares.sum(axis=1) - 1).max() < 2**-14
    assert (np.triu(shares, 1) == 0).all()


def test_the_largest_pooled_vectors():
    """All -128: the largest score that there may be, for every head_dim that a lane has."""
    for head_dim in (1, 128, 256, 512, 1024):
        numerics = numerics_of(head_dim=head_dim, blocks=4)
        x = np.full((4, head_dim), -128 << 4)
        assert numerics.pair_score_fraction == min(4, 27 - numerics.lane.score_width)
        dot = x.astype(np.int64) @ x.T >> 8 - numerics.pair_score_fraction
        assert dot.max() < 1 << 26
        shares = pair_shares(x, x, 65536, 30, numerics)
        quarter = shares[3] / (1 << numerics.pair_fraction)
        assert np.allclose(quarter, 0.25, atol=2**-16)


@pytest.mark.parametrize("blocks", [1, 2, 9, 1024])
def test_all_have_less_than_the_selector_counts(blocks):
    rng = np.random.default_rng(blocks)
    fraction = 10
    for spread in (0, 1 << 6, 1 << 12):
        x = rng.integers(-spread, spread + 1, (blocks, blocks))
        rows = row_sums(x, fraction=fraction, exp_fraction=28)
        below = np.minimum(x, rows.maximum[:, None])
        shares = np.tril(row_shares(below, rows, blocks=blocks, fraction=fraction, exp_fraction=28))
        assert shares.min() >= 0
        assert int(shares.sum()) < 1 << 31


def test_rows_of_a_score():
    """One score is all there is; equal ones share."""
    rows = row_sums(np.array([[5, 9], [7, 7]]), fraction=4, exp_fraction=28)
    assert rows.maximum.tolist() == [5, 7]
    assert rows.e.tolist() == [0, 1]
    shares = row_shares(np.array([[5, 5], [7, 7]]), rows, blocks=2, fraction=4, exp_fraction=28)
    assert shares[0, 0] == pytest.approx(1 << 29, rel=2**-15)
    assert shares[1].tolist() == [shares[1, 0]] * 2
    assert shares[1, 0] == pytest.approx(1 << 28, rel=2**-15)
