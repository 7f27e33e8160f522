"""Figures of a selection, against attention and pairs of tokens counted one by one."""

import numpy as np
import pytest

from qkloom.tb.index.planted import attention_of, covered_share
from qkloom.tb.index.report import Choice, attention_map, covered_mass, head_row, jaccard

TOKENS, BLOCK = 100, 16


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(0)
    return rng.standard_normal((TOKENS, 8)), 2 * rng.standard_normal((TOKENS, 8))


@pytest.fixture(scope="module")
def mask():
    return np.tril(np.random.default_rng(1).random((7, 7)) < 0.4)


class TestMap:
    def test_is_the_mean_of_attention(self, head):
        attended = attention_of(*head, np.arange(TOKENS))
        found = attention_map(*head, BLOCK)
        assert found.shape == (7, 7)
        for row, column in np.ndindex(7, 7):
            of_block = attended[
                row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK
            ]
            assert found[row, column] == pytest.approx(of_block.sum(axis=1).mean(), abs=1e-15)

    def test_rows_are_whole_and_see_nothing_later(self, head):
        found = attention_map(*head, BLOCK)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert (found[np.triu_indices(7, 1)] == 0).all()

    def test_does_not_depend_on_chunks(self, head, monkeypatch):
        whole = attention_map(*head, BLOCK)
        monkeypatch.setattr("qkloom.tb.index.report._CHUNK", 3 * BLOCK * TOKENS)
        np.testing.assert_allclose(attention_map(*head, BLOCK), whole, rtol=1e-12)

    def test_a_single_block(self, head):
        q, k = (x[:5] for x in head)
        assert attention_map(q, k, BLOCK).tolist() == [[pytest.approx(1)]]


def test_covered_mass(head, mask):
    found = covered_mass(attention_map(*head, BLOCK), mask, TOKENS, BLOCK)
    assert found == pytest.approx(covered_share(*head, mask, BLOCK, np.arange(TOKENS)))
    assert 0.1 < found < 0.9


def test_jaccard():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert jaccard(a, b) == 1 / 3
    assert jaccard(a, a) == 1
    assert jaccard(a, ~a) == 0
    assert jaccard(a & ~a, b & ~b) == 1


def test_row(head, mask):
    choice = Choice(np.stack([np.eye(7, dtype=bool), mask]), ("dense", "window"), ((), ("flat",)))
    reference, exact = np.tril(np.ones((7, 7), bool)), mask.copy()
    exact[0, 0] = not exact[0, 0]
    attended = attention_map(*head, BLOCK)
    given = {"tokens": TOKENS, "block": BLOCK, "cycles": 5, "k_bytes": 7}
    row = head_row(1, choice, attended, reference=reference, exact=exact, **given)
    assert (row.head, row.pattern, row.flags) == (1, "window", ("flat",))
    assert (row.cycles, row.k_bytes) == (5, 7)
    assert row.blocks == mask.sum()
    assert row.jaccard == mask.sum() / 28
    kept = mask | exact
    assert row.jaccard_exact == (kept.sum() - 1) / kept.sum()
    token = np.arange(TOKENS)
    pairs = (token <= token[:, None]) & mask[token[:, None] // BLOCK, token // BLOCK]
    assert row.density == pytest.approx(pairs.sum() / (TOKENS * (TOKENS + 1) / 2))
    assert row.covered_mass == covered_mass(attended, mask, TOKENS, BLOCK)
