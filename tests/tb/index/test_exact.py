"""The coverage unit against real numbers by the same rule, and what the rule promises."""

import numpy as np
import pytest

from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.errors import InputError
from qkloom.tb.exact import exact_attention
from qkloom.tb.index.contexts import families, generate
from qkloom.tb.index.coverage import coverage
from qkloom.tb.index.divergence import distance
from qkloom.tb.index.exact import CoverageRule, exact_coverage
from qkloom.tb.index.report import jaccard
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import default_tensors


def select(q, k, rule, *, block, size=16):
    """Return what the unit selects, what real numbers do on the same integers, and the operands."""
    lane = Numerics(size=size, head_dim=q.shape[-1], tokens=q.shape[-2])
    numerics = IndexNumerics(lane=lane, block=block, tokens=q.shape[-2])
    operands = quantize(q, k, k, lane)
    floats = operands.floats()
    settings = vars(rule)
    reference = coverage(floats[0], floats[1], block=block, **settings)
    found = exact_coverage(
        operands.q, operands.k, operands.mantissa, operands.shift, numerics, rule
    )
    return found, reference, operands, numerics


def real():
    tensors = default_tensors()
    return np.asarray(tensors.q), np.asarray(tensors.k), np.asarray(tensors.v)


class TestRealTensors:
    """512 tokens of a text, blocks of 16, two blocks at least; nothing is dense by decree."""

    @pytest.mark.parametrize("tau", [0.0, 0.1, 0.3])
    @pytest.mark.parametrize("gamma", [0.5, 0.9, 0.95])
    def test_selections_are_those_of_real_numbers(self, gamma, tau):
        q, k, _ = real()
        rule = CoverageRule(gamma=gamma, tau=tau, min_budget=32)
        found, reference, _, _ = select(q, k, rule, block=16)
        for head, true in zip(found, reference, strict=True):
            assert head.verdict.is_aware == (true.pattern == "query-aware")
            assert jaccard(head.verdict.mask, true.mask) >= 0.95

    def test_density_is_below_80_percent(self):
        q, k, _ = real()
        found, _, _, _ = select(q, k, CoverageRule(min_budget=32), block=16)
        n = len(found[0].verdict.mask)
        densities = [head.verdict.mask.sum() / (n * (n + 1) / 2) for head in found]
        assert np.mean(densities) < 0.8

    def test_divergences_are_those_of_real_numbers(self):
        q, k, _ = real()
        found, reference, _, _ = select(q, k, CoverageRule(min_budget=32), block=16)
        for head, true in zip(found, reference, strict=True):
            assert abs(distance(head.verdict.divergence) - true.divergence) < 2e-4

    def test_covered_mass_is_what_the_rule_promises(self):
        q, k, _ = real()
        gamma = 0.9
        found, reference, operands, _ = select(
            q, k, CoverageRule(gamma=gamma, tau=0, min_budget=32), block=16
        )
        queries, keys, _ = operands.floats()
        for number, (head, true) in enumerate(zip(found, reference, strict=True)):
            assert true.pattern == "vertical-slash"
            scores = queries[number, -16:] @ keys[number].T / np.sqrt(q.shape[-1])
            scores[np.triu(np.ones(scores.shape, bool), k=512 - 16 + 1)] = -np.inf
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            columns = (p / p.sum(axis=1, keepdims=True)).mean(axis=0).reshape(-1, 16).sum(axis=1)
            taken = head.verdict.columns.taken
            assert columns[taken].sum() >= gamma - 0.01
            # With the least of those taken it is no less than that; without it, it would be.
            rest = taken.copy()
            rest[0] = False
            least = columns[rest].min() if rest.any() else 0
            if taken.sum() > 2:
                assert columns[taken].sum() - least <= gamma + 0.01

    def test_with_gamma_1_sparse_attention_is_dense_attention(self):
        q, k, v = real()
        found, _, operands, numerics = select(q, k, CoverageRule(gamma=1), block=16)
        mask = np.array([head.verdict.mask for head in found])
        n = mask.shape[1]
        assert (mask == np.tril(np.ones((n, n), bool))).all()
        operands = quantize(q, k, v, numerics.lane)
        of = operands.q, operands.k, operands.v, operands.mantissa, operands.shift, numerics.lane
        dense = exact_attention(*of, block_rows=16, causal=True)
        sparse = exact_attention(*of, block_rows=16, causal=True, block_mask=mask)
        assert (dense == sparse).all()


@pytest.mark.parametrize("family", families())
class TestGeneratedContexts:
    def test_selections_are_those_of_real_numbers(self, family):
        context = generate(family, 2048, heads=4, kv_heads=2, head_dim=64, seed=7, block=64)
        rule = CoverageRule(min_budget=128)
        found, reference, _, _ = select(context.q, context.k, rule, block=64)
        for head, true in zip(found, reference, strict=True):
            assert head.verdict.is_aware == (true.pattern == "query-aware")
            assert jaccard(head.verdict.mask, true.mask) >= 0.9

    def test_blocks_that_are_not_whole(self, family):
        context = generate(family, 1000, heads=2, kv_heads=1, head_dim=64, seed=8, block=64)
        found, reference, _, _ = select(context.q, context.k, CoverageRule(min_budget=0), block=64)
        for head, true in zip(found, reference, strict=True):
            assert jaccard(head.verdict.mask, true.mask) >= 0.9


class TestDegenerateInputs:
    def test_all_scores_equal(self):
        zeros = np.zeros((1, 256, 32))
        found, _, _, _ = select(zeros, zeros, CoverageRule(min_budget=0, tau=0), block=16)
        verdict = found[0].verdict
        # Columns have equal shares but for the last one, of which rows see half: in order.
        assert verdict.columns.taken.tolist() == 14 * [True] + 2 * [False]
        assert not verdict.columns.flat

    def test_a_single_block(self):
        q = np.random.default_rng(0).normal(size=(1, 16, 32))
        found, _, _, _ = select(q, q, CoverageRule(min_budget=0, tau=0), block=16)
        assert found[0].verdict.mask.tolist() == [[True]]
        assert found[0].verdict.columns.flat


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"gamma": 1.5}, "gamma must be 0 to 1, not 1.5"),
            ({"tau": -0.1}, "tau must be 0 to 1, not -0.1"),
            (
                {"min_budget": -1},
                "Budgets must be 0 or more, the largest not below the smallest, not -1 and None",
            ),
            (
                {"min_budget": 512, "max_budget": 256},
                "Budgets must be 0 or more, the largest not below the smallest, not 512 and 256",
            ),
        ],
    )
    def test_what_contradicts(self, changes, message):
        with pytest.raises(InputError, match=f"^{message}$"):
            CoverageRule(**changes)
