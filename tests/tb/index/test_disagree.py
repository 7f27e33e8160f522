"""What decides where integers and float64 select different things."""

import numpy as np
import pytest

from qkloom.gen.chip import read_chip
from qkloom.tb.index.contexts import families, generate
from qkloom.tb.index.coverage import Cover, CoverageSelection, coverage, smallest_cover
from qkloom.tb.index.disagree import Disagreement, disagreements
from qkloom.tb.index.exact import CoverageRule, exact_coverage
from qkloom.tb.index.head import Verdict
from qkloom.tb.index.selector import Selection
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import default_tensors

MASS = np.array([0.2, 0.5, 0.1, 0.14, 0.06])
NOTHING = np.zeros(5, bool)


def cover(mass, gamma, *, always=0, **budget):
    return Cover(mass, gamma, smallest_cover(mass, gamma, always=always, **budget), always)


def reference(columns, diagonals, pairs=None, divergence=0.5):
    return CoverageSelection("vertical-slash", NOTHING, divergence, 0, 0, columns, diagonals, pairs)


def verdict(columns, diagonals, pairs=None):
    kinds = [None if x is None else Selection(x, 0, 0, 0, False) for x in (columns, diagonals)]
    of_pairs = None if pairs is None else Selection(pairs, 0, 0, 0, False)
    return Verdict(pairs is not None, 0, *kinds, of_pairs)


def flipped(taken, *places):
    other = taken.copy()
    other[list(places)] ^= True
    return other


def test_nothing_differs():
    columns = cover(MASS, 0.8)
    assert (
        disagreements(verdict(columns.taken, columns.taken), reference(columns, columns), 0) == ()
    )


@pytest.mark.parametrize(
    ("gamma", "budget", "place", "kept", "margin"),
    [
        (0.89, {}, 2, False, 0.04),  # 0.84 are larger; the next smaller one has 0.06
        (0.83, {}, 2, True, 0.01),  # 0.84 are larger
        (0.83, {}, 3, False, 0.04),  # 0.1 does without
        (0.83, {"least": 4}, 2, False, 0.04),  # the budget takes it: only sizes count
        (0.95, {"most": 3}, 2, True, 0.04),  # the budget leaves it out
    ],
)
def test_margins(gamma, budget, place, kept, margin):
    """Of a column, and of a diagonal."""
    covered = cover(MASS, gamma, **budget)
    other = flipped(covered.taken, place)
    for kind, given in (
        ("column", (other, covered.taken)),
        ("diagonal", (covered.taken, other)),
    ):
        (found,) = disagreements(verdict(*given), reference(covered, covered), 0)
        assert (found.kind, found.place, found.kept) == (kind, place, kept)
        assert found.margin == pytest.approx(margin)


def test_shares_of_masses_of_any_scale():
    small, large = (cover(MASS * scale, 0.83) for scale in (1, 512))
    margins = [
        disagreements(verdict(flipped(x.taken, 2), x.taken), reference(x, x), 0)[0].margin
        for x in (small, large)
    ]
    assert margins[0] == pytest.approx(margins[1])


def test_pairs_have_two_numbers():
    pairs = cover(np.array([0.4, 0.1, 0.3, 0.05, 0.05, 0.1]), 0.65, always=None)
    columns = cover(np.array([0.6, 0.3, 0.1]), 0)
    (found,) = disagreements(
        verdict(columns.taken, columns.taken, flipped(pairs.taken, 4)),
        reference(columns, columns, pairs),
        0,
    )
    assert found == Disagreement("pair", (2, 1), True, pytest.approx(0.25))


def test_a_pattern_is_all_that_is_said():
    columns = cover(MASS, 0.8)
    found = disagreements(
        verdict(flipped(columns.taken, 1), columns.taken, NOTHING),
        reference(columns, columns, divergence=0.12),
        0.1,
    )
    assert found == (Disagreement("pattern", None, True, pytest.approx(0.02)),)


@pytest.mark.parametrize("source", ["real", *families()])
def test_little_decides(source):
    """Whatever differs from float64 is a tie but for rounding."""
    if source == "real":
        tensors, chip = default_tensors(), read_chip("u280-tiny")
        q, k, rule = tensors.q, tensors.k, CoverageRule(min_budget=32)
    else:
        chip = read_chip("u280-small")
        context = generate(source, 1500, heads=4, kv_heads=2, head_dim=64, seed=1, block=128)
        q, k, rule = context.q, context.k, CoverageRule(min_budget=256)
    chip = chip.replace(index="coverage")
    of = quantize(q, k, k, chip.numerics)
    heads = exact_coverage(of.q, of.k, of.mantissa, of.shift, chip.index_numerics, rule)
    true = coverage(*of.floats()[:2], block=chip.block, **vars(rule))
    for head, wanted in zip(heads, true, strict=True):
        for found in disagreements(head.verdict, wanted, rule.tau):
            assert 0 <= found.margin < (2e-4 if found.kind == "pattern" else 1e-4)
