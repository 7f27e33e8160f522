"""The rule of the coverage unit: by blocks, beside FlexPrefill's by tokens."""

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.coverage import coverage, smallest_cover
from qkloom.tb.index.flexprefill import FlexPrefillRules, flexprefill
from qkloom.tb.index.pool import block_sums, last_queries
from qkloom.tb.tensors import default_tensors


class TestCover:
    def test_fewest(self):
        mass = np.array([0.1, 0.4, 0.1, 0.3, 0.1])
        for gamma, taken in ((0, [1]), (0.4, [1]), (0.41, [1, 3]), (0.75, [0, 1, 3])):
            assert np.flatnonzero(smallest_cover(mass, gamma)).tolist() == taken

    def test_always(self):
        mass = np.array([0.0, 0.5, 0.5])
        assert np.flatnonzero(smallest_cover(mass, 0.5, always=0)).tolist() == [0, 1]

    def test_budgets(self):
        mass = np.full(8, 0.125)
        assert smallest_cover(mass, 0.5, least=6).sum() == 6
        assert np.flatnonzero(smallest_cover(mass, 0.9, most=3)).tolist() == [0, 1, 2]

    def test_nothing_anywhere(self):
        assert np.flatnonzero(smallest_cover(np.zeros(4), 0.9, least=1)).tolist() == [0]

    @pytest.mark.parametrize("seed", range(20))
    def test_one_less_is_too_few(self, seed):
        rng = np.random.default_rng(seed)
        mass = rng.dirichlet(np.full(30, 0.3))
        gamma = rng.uniform(0.05, 0.99)
        taken = smallest_cover(mass, gamma)
        assert mass[taken].sum() >= gamma - 1e-12
        assert mass[taken].sum() - mass[taken].min() < gamma
        assert mass[taken].min() >= mass[~taken].max()


def real():
    tensors = default_tensors()
    q, k = (np.asarray(x).reshape(-1, *x.shape[-2:]).astype(float) for x in (tensors.q, tensors.k))
    return q, k


def test_the_last_queries_see_what_is_promised():
    q, k = real()
    for gamma in (0.5, 0.9, 0.99):
        made = coverage(q, k, block=16, gamma=gamma, tau=0, min_budget=0)
        for head, found in enumerate(made):
            attended = last_queries(q[head], k[head * len(k) // len(q)], 16)
            columns = block_sums(attended.mean(axis=0), 16)
            assert columns[found.mask[-1]].sum() >= gamma - 1e-12
            assert found.pattern == "vertical-slash"
            assert found.mask[:, 0].all()
            assert found.mask.diagonal().all()


def test_everything_at_1():
    q, k = real()
    assert all(found.density == 1 for found in coverage(q, k, block=16, gamma=1))


def test_query_aware_pairs_reach_gamma():
    rng = np.random.default_rng(3)
    q, k = (0.3 * rng.standard_normal((1, 512, 8)) for _ in range(2))
    (found,) = coverage(q, k, block=16, tau=0.3, min_budget=0)
    assert found.pattern == "query-aware"
    assert (found.n_vertical, found.n_slash) == (1, 1)
    assert 0.5 < found.density < 1


def test_budgets_are_tokens():
    q, k = real()
    made = coverage(q, k, block=16, gamma=0.01, tau=0, min_budget=33)
    assert {(x.n_vertical, x.n_slash) for x in made} == {(3, 3)}
    made = coverage(q, k, block=16, gamma=0.999, tau=0, min_budget=0, max_budget=64)
    assert max(max(x.n_vertical, x.n_slash) for x in made) <= 4


def test_is_near_flexprefill():
    """By blocks and by tokens differ; where both take few blocks, they take much the same."""
    q, k = real()
    unit = FlexPrefillRules(cover_unit=None, dtype=np.float64)
    tokens = flexprefill(q, k, block=16, gamma=0.9, tau=0, min_budget=32, rules=unit, dense_below=0)
    blocks = coverage(q, k, block=16, gamma=0.9, tau=0, min_budget=32)
    jaccard = [
        (a.mask & b.mask).sum() / (a.mask | b.mask).sum()
        for a, b in zip(tokens, blocks, strict=True)
    ]
    assert np.mean(jaccard) > 0.4


def test_refused():
    with pytest.raises(InputError, match=r"^gamma must be 0 to 1, not -0\.1$"):
        coverage(*np.zeros((2, 2, 32, 8)), gamma=-0.1)
