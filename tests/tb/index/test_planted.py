"""The answer in blocks against the answer in tokens."""

import numpy as np
import pytest

from qkloom.tb.index.planted import Planted, attention_of, covered_share, planted_share

KINDS = [
    {"sinks": 4},
    {"sinks": 20, "verticals": (33, 47, 95)},
    {"slashes": (1, 16, 24, 47)},
    {"band": 1},
    {"band": 17},
    {"band": 40, "slashes": (32,), "verticals": (50,)},
    {"needles": ((0, 0), (3, 1), (5, 5), (6, 2))},
]


@pytest.mark.parametrize("tokens", [96, 101])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hold_the_tokens(kind, tokens):
    kind = {**kind, "needles": tuple(x for x in kind.get("needles", ()) if x[0] < 6)}
    planted = Planted(tokens, 16, 0.9, **kind)
    pairs = planted.pairs(np.arange(tokens))
    n = planted.n
    padded = np.zeros((n * 16, n * 16), bool)
    padded[:tokens, :tokens] = pairs
    blocks = padded.reshape(n, 16, n, 16).any(axis=(1, 3))
    # A diagonal leaves the last block when that is short; by blocks it reaches two for all.
    whole = tokens // 16
    np.testing.assert_array_equal(planted.blocks()[:whole], blocks[:whole])
    assert (planted.blocks() >= blocks).all()
    assert not np.triu(pairs, 1).any()


def test_as_rules_count():
    planted = Planted(128, 16, 0.9, sinks=17, verticals=(33, 34, 90), slashes=(15, 50), band=33)
    assert planted.columns == [0, 1, 2, 5]
    assert planted.diagonals == [0, 1, 2, 3]
    assert Planted(128, 16).columns == Planted(128, 16).diagonals == []


def test_shares():
    q, k = np.random.default_rng(0).standard_normal((2, 100, 8))
    rows = np.array([40, 99])
    attended = attention_of(q, k, rows)
    for row, found in zip(rows, attended, strict=True):
        weights = np.exp(k[: row + 1] @ q[row] / np.sqrt(8))
        np.testing.assert_allclose(found[: row + 1], weights / weights.sum())
        assert (found[row + 1 :] == 0).all()
    planted = Planted(100, 16, 0.9, sinks=4)
    assert planted_share(q, k, planted, rows) == pytest.approx(attended[:, :4].sum() / 2)
    mask = np.zeros((7, 7), bool)
    mask[:, 2] = True
    assert covered_share(q, k, mask, 16, rows) == pytest.approx(attended[:, 32:48].sum() / 2)
