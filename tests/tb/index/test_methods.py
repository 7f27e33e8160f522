"""Methods that see the answer's block recall it; how much they look at is counted."""

import pytest

from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.errors import InputError
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.index.methods import METHODS, compare_methods
from qkloom.tb.index.recall import dense_attend

RULE = CoverageRule(min_budget=128)
SIZE = {"block": 32, "questions": 64, "rule": RULE, "window_tokens": 128, "top_k": 6}


@pytest.fixture(scope="module")
def rows():
    made = compare_methods(2048, snrs=(None, 10.0, -15.0), **SIZE)
    return {row.method: row for row in made}


def test_all_methods(rows):
    noise = ["oracle", "10 dB", "-15 dB"]
    assert list(rows) == [*METHODS[:-1], *(f"forecast {x}" for x in noise)]


def test_dense(rows):
    assert rows["dense"].accuracy == rows["dense"].density == rows["dense"].found == 1
    assert rows["dense"].keys == 2048 - 16  # of the last two blocks, in the mean


def test_a_window_misses_what_is_far(rows):
    window = rows["window"]
    assert window.keys == (1 + 4 + 1) * 32
    assert window.density == pytest.approx(6 / 63.5, rel=0.01)
    assert window.accuracy < 0.3


def test_coverage_finds_most(rows):
    assert rows["coverage"].accuracy > 0.8
    assert rows["coverage"].density < 0.5
    assert rows["coverage"].accuracy > rows["flexprefill"].accuracy
    assert rows["coverage"].density > rows["flexprefill"].density


def test_coverage_with_the_bits_of_the_hardware(rows):
    lane = Numerics(size=16, head_dim=64, tokens=2048)
    numerics = IndexNumerics(lane=lane, block=32, tokens=2048)
    told = []
    given = {"numerics": numerics, "tell": told.append}
    (exact,) = compare_methods(2048, methods=["coverage"], **SIZE, **given)
    assert told == ["coverage"]
    assert exact.accuracy == pytest.approx(rows["coverage"].accuracy, abs=0.05)
    assert (exact.chosen != rows["coverage"].chosen).mean() < 0.02
    assert exact.chosen.shape == (4, 64, 64)


def test_forecasts(rows):
    oracle, noisy, useless = (rows[f"forecast {x}"] for x in ("oracle", "10 dB", "-15 dB"))
    assert oracle.accuracy > 0.9
    assert oracle.found >= noisy.found > useless.found
    assert useless.accuracy < 0.6
    for row in (oracle, noisy, useless):
        assert row.keys == 6 * 64
        assert row.density == pytest.approx(6 / 32, rel=0.02)


def test_who_sees_recalls(rows):
    for row in rows.values():
        assert row.accuracy >= row.found - 0.05


def test_attention_is_what_is_given():
    calls = []

    def attend(q, k, v, *, q_start, block_mask=None, block=None):
        calls.append((q.shape, k.shape, q_start, None if block_mask is None else block_mask.shape))
        return dense_attend(q, k, v, q_start=q_start, block_mask=block_mask, block=block)

    compare_methods(1024, methods=["window"], attend=attend, **SIZE)
    assert calls[0] == ((2, 32, 64), (2, 32, 64), 0, None)
    assert set(calls[1:-1]) == {((2, 32, 64), (2, 64, 64), 32, None)}
    assert calls[-1] == ((4, 64, 64), (2, 1024, 64), 960, (4, 2, 32))
    calls.clear()
    compare_methods(1024, methods=["forecast"], snrs=[None], attend=attend, **SIZE)
    questions = calls[32:]
    assert len(questions) == 2 * 64
    assert {q for q, *_ in questions} == {(2, 1, 64)}
    assert all(k[1] == q_start + 1 and mask is None for _, k, q_start, mask in questions)
    for position, (_, k, _, _) in zip(2 * [*range(960, 1024)], questions, strict=True):
        assert k[1] % 64 == (position + 1) % 64  # up to the question's own key, and no further


def test_is_repeatable():
    a, b = (compare_methods(1024, methods=["coverage"], **SIZE) for _ in range(2))
    assert a == b


def test_refused():
    with pytest.raises(InputError, match=r"^methods must be of dense, .*, forecast, not 'best'$"):
        compare_methods(1024, methods=["best"])
