"""FlexPrefill's reference against the rule written out in loops, and on attention that is known."""

import math

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.flexprefill import FlexPrefillRules, cover, flexprefill

DOUBLE = FlexPrefillRules(dtype=np.float64)


def in_loops(q, k, block, gamma, tau, least, *, unit, zero_log):
    """Select for one head, a number at a time: the pairs, and the divergence."""
    tokens, d = q.shape
    n = -(-tokens // block)
    rows = min(block, tokens)
    attended = np.zeros((rows, tokens))
    for i in range(rows):
        at = tokens - rows + i
        scores = [q[at] @ k[j] / math.sqrt(d) for j in range(at + 1)]
        weights = [math.exp(s - max(scores)) for s in scores]
        attended[i, : at + 1] = [w / sum(weights) for w in weights]
    vertical = [sum(attended[:, j]) / rows for j in range(tokens)]
    slash = [0.0] * tokens
    for j in range(tokens):
        for i in range(rows):
            column = j + i - (rows - 1)
            if 0 <= column < tokens:
                slash[j] += attended[i, column] / rows

    def covered(x):
        total, count = 0.0, 1
        for value in sorted(x, reverse=True):
            total += value
            count += total <= gamma
        return min(max(count // unit + 1, least), n)

    nv, ns = covered(vertical), covered(slash)
    blocks = [range(b * block, min((b + 1) * block, tokens)) for b in range(n)]
    columns = [sum(vertical[j] for j in b) for b in blocks]
    diagonals = [sum(slash[j] for j in b) for b in blocks]
    keys = [sum(k[j] for j in b) / len(b) for b in blocks]
    mean = sum(q[tokens - rows + i] for i in range(rows)) / rows / math.sqrt(d)
    foretold = [mean @ key for key in keys]
    foretold = [math.exp(x - max(foretold)) for x in foretold]
    foretold = [x / sum(foretold) for x in foretold]
    divergence = 0.0
    for p, v in zip(foretold, columns, strict=True):
        m = (p + v) / 2
        for x in (p, v):
            if x:
                divergence += x * math.log(x / m) / 2
            elif zero_log == "nan":
                divergence = math.nan
    divergence = math.sqrt(max(divergence, 0)) if divergence == divergence else math.nan
    aware = divergence < tau
    if aware:
        nv = ns = least
    chosen = {(0, 0)}
    order = sorted(range(n), key=lambda b: (b != 0, -columns[b], b))[:nv]
    chosen |= {(r, c) for c in order for r in range(n)}
    order = sorted(range(n), key=lambda b: (b != n - 1, -diagonals[b], b))[:ns]
    chosen |= {(r, r - (n - 1 - b)) for b in order for r in range(n)}
    if aware:
        means = [sum(q[j] for j in b) / len(b) for b in blocks]
        pairs = []
        for r in range(n):
            scores = [means[r] @ keys[c] / math.sqrt(d) for c in range(r + 1)]
            weights = [math.exp(s - max(scores)) for s in scores]
            pairs += [(w / sum(weights), r, c) for c, w in enumerate(weights)]
        total = 0.0
        for weight, r, c in sorted(pairs, key=lambda x: (-x[0], x[1:])):
            total += weight
            if total <= gamma * n:
                chosen.add((r, c))
    return {(r, c) for r, c in chosen if 0 <= c <= r}, divergence, aware


@pytest.mark.parametrize("seed", range(24))
def test_is_the_rule(seed):
    rng = np.random.default_rng(seed)
    block = int(rng.choice([2, 4, 5]))
    tokens = int(rng.integers(1, 40))
    sharp = rng.choice([0.3, 3, 40])
    q, k = (sharp * rng.standard_normal((heads, tokens, 6)) for heads in (4, 2))
    gamma, tau = rng.choice([0.3, 0.9, 0.99]), rng.choice([0.0, 0.1, 0.5, 1.0])
    unit, zero_log = int(rng.choice([1, block, 128])), str(rng.choice(["nan", "zero"]))
    rules = FlexPrefillRules(cover_unit=unit, zero_log=zero_log, dtype=np.float64)
    n = -(-tokens // block)
    budget = int(rng.integers(0, 2 * block))
    made = flexprefill(
        q, k, block=block, gamma=gamma, tau=tau, min_budget=budget, rules=rules, dense_below=0
    )
    least = min(-(-budget // block), n)
    for head, found in enumerate(made):
        pairs, divergence, aware = in_loops(
            q[head], k[head // 2], block, gamma, tau, least, unit=unit, zero_log=zero_log
        )
        assert set(zip(*np.nonzero(found.mask), strict=True)) == pairs
        np.testing.assert_allclose(found.divergence, divergence, atol=1e-7)
        assert (found.pattern == "query-aware") == aware


def planted(tokens, *, sinks=(), offsets=(), d=16, strength=12.0):
    """Return a head whose queries attend to some tokens, and to those some places before them."""
    rng = np.random.default_rng(0)
    code = rng.standard_normal((tokens, 1024))
    code /= np.linalg.norm(code, axis=1, keepdims=True)
    mark = rng.standard_normal(1024)
    mark /= np.linalg.norm(mark)
    k = code.copy()
    k[list(sinks)] = mark
    q = np.zeros_like(k)
    if sinks:
        q += mark
    for offset in offsets:
        q[offset:] += code[: tokens - offset]
    return strength * math.sqrt(1024) * q[None], k[None]


class TestPatterns:
    def test_verticals(self):
        q, k = planted(256, sinks=[100, 180])
        (found,) = flexprefill(
            q, k, block=16, min_budget=48, rules=FlexPrefillRules(cover_unit=None), dense_below=0
        )
        assert found.pattern == "vertical-slash"
        columns = [c for c in range(16) if found.mask[c:, c].all()]
        assert {0, 100 // 16, 180 // 16} <= set(columns)

    def test_slash_takes_the_nearer_diagonal_only(self):
        q, k = planted(256, offsets=[70])
        for both, expected in ((False, {0, 4}), (True, {0, 1, 4, 5})):
            rules = FlexPrefillRules(cover_unit=None, both_diagonals=both)
            (found,) = flexprefill(q, k, block=16, min_budget=32, rules=rules, dense_below=0)
            diagonals = {o for o in range(16) if np.diagonal(found.mask, -o).all()}
            assert expected <= diagonals

    def test_flat_heads_are_query_aware(self):
        rng = np.random.default_rng(1)
        q, k = (0.01 * rng.standard_normal((1, 256, 8)) for _ in range(2))
        (found,) = flexprefill(q, k, block=16, min_budget=16, rules=DOUBLE, dense_below=0)
        assert found.pattern == "query-aware"
        assert found.divergence < 0.05
        assert 0.7 < found.density < 1


def test_dense_below():
    q, k = np.zeros((2, 2, 256, 8))
    assert {x.pattern for x in flexprefill(q, k, min_budget=0)} == {"dense"}
    q, k = np.ones((2, 2, 2048, 8))
    assert {x.pattern for x in flexprefill(q, k, min_budget=0)} == {"query-aware"}
    assert {x.pattern for x in flexprefill(q[:, :1024], k[:, :1024])} == {"dense"}


def test_zero_probabilities_are_not_query_aware_in_the_code():
    q, k = planted(64, sinks=[3], strength=900.0)
    for zero_log, is_nan in (("nan", True), ("zero", False)):
        rules = FlexPrefillRules(zero_log=zero_log)
        (found,) = flexprefill(q, k, block=8, tau=1.0, min_budget=8, rules=rules, dense_below=0)
        assert math.isnan(found.divergence) == is_nan
        assert (found.pattern == "vertical-slash") == is_nan


def test_cover():
    x = np.array([0.1, 0.4, 0.2, 0.3])
    assert [cover(x, gamma) for gamma in (0, 0.4, 0.69, 0.95, 1.1)] == [1, 2, 2, 4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"q": np.zeros((3, 8, 4))},
            r"^q and k must be \(heads, tokens, head_dim\), .* not \(3",
        ),
        ({"block": 0}, r"^block must be at least 1 token, not 0; use 128$"),
        ({"gamma": 1.5}, r"^gamma must be 0 to 1, not 1\.5$"),
        ({"tau": float("nan")}, r"^tau must be 0 to 1, not nan$"),
        ({"max_budget": 4}, r"^Budgets must be 0 or more, .* not 1024 and 4$"),
    ],
)
def test_refused(changes, message):
    given = {"q": np.zeros((4, 8, 4)), "k": np.zeros((2, 8, 4)), **changes}
    with pytest.raises(InputError, match=message):
        flexprefill(**given)
