import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.lane.exp2 import exp2
from qkloom.tb.lane.row import RowState, base2_scores, combine, split, visible_keys

N = Numerics(size=4, head_dim=8, tokens=64, p_width=15, segments=8, fraction=8)


@pytest.mark.parametrize("p_width", range(7, 17))
def test_digits_of_every_probability(p_width):
    n = Numerics(size=4, head_dim=4, tokens=64, p_width=p_width)
    p = np.arange(n.p_max + 1)
    digits = split(p, n)
    assert digits.shape == (n.digits, len(p))
    limits = (-128, 127) if n.digit_is_signed else (0, 255)
    assert limits[0] <= digits.min() <= digits.max() <= limits[1]
    assert (combine(digits, n) == p).all()
    assert (combine(digits * -77, n) == p * -77).all()


def test_base2_scores():
    assert base2_scores([-3, 0, 1, 3], 1 << 16, 17, N).tolist() == [-1, 0, 1, 2]
    highest = (1 << 17) - 1
    assert base2_scores([-(1 << 23), 1 << 23], highest, 0, N).tolist() == [-N.x_max, N.x_max]
    assert base2_scores([1 << 23, -(1 << 23)], highest, 63, N).tolist() == [0, 0]


def test_visible_keys():
    assert visible_keys(2, 3, N).tolist() == [[True, True, True, False]] * 2
    lower = visible_keys(3, 4, N, diagonal=-1)
    assert lower.tolist() == [[False] * 4, [True] + [False] * 3, [True, True, False, False]]


def test_maximum_is_an_integer_at_or_above_every_score():
    state = RowState(1, N)
    step = state.step([[-257, -300, 900, 5]], [[True, True, False, False]])
    assert state.maximum.tolist() == [-1]
    assert step.p[0, 2:].tolist() == [0, 0]
    assert step.p[0, 0] > N.p_max // 2
    assert state.total == step.p.sum() << N.acc_guard
    step = state.step([[257, 0, 0, 0]], [[True, False, False, False]])
    assert (state.maximum, step.old_shift, step.new_shift) == ([2], [3], [0])
    step = state.step([[-4000] * 4], [[True] * 4])
    assert (state.maximum, step.old_shift, step.new_shift) == ([2], [0], [17])
    assert step.p.min() > N.p_max // 2


def test_no_key_leaves_everything_as_it_is():
    state = RowState((2, 3), N)
    nothing = np.zeros((2, 3, 4), bool)
    step = state.step(np.zeros((2, 3, 4), int), nothing)
    assert (state.maximum == N.max_init).all()
    assert not state.total.any() and not step.p.any() and not step.old_shift.any()
    state.step(np.full((2, 3, 4), 77), ~nothing)
    before = state.maximum, state.total
    step = state.step(np.full((2, 3, 4), N.x_max), nothing)
    assert (state.maximum == before[0]).all() and (state.total == before[1]).all()
    assert not step.p.any() and not step.old_shift.any()


def test_what_follows_a_sink_keeps_its_precision():
    """1,000 tiles of scores 14 below a sink's: together as much as the sink, each 2**-12 of it."""
    state = RowState(1, N)
    state.step([[14 << N.fraction] + [0] * 3], [[True] + [False] * 3])
    for _ in range(1000):
        step = state.step([[0, 13, 77, 128]], [[True] * 4])
        assert (step.old_shift, step.new_shift) == ([0], [13])
    exact = 2.0**14 + 1000 * (2.0 ** (np.array([0, 13, 77, 128]) / 256)).sum()
    found = state.total / (N.p_max << N.acc_guard) * 2.0**14
    assert found == pytest.approx(exact, rel=1e-3)


def test_shifts_over_the_whole_range():
    state = RowState(1, N)
    state.step([[-N.x_max] * 4], [[True] * 4])
    assert state.maximum == [-32767]
    assert state.total == 4 * exp2(0, N) << N.acc_guard
    step = state.step([[N.x_max] * 4], [[True] * 4])
    assert state.maximum == [32767] and step.old_shift == [63]
    assert state.total == 4 * exp2(0, N) << N.acc_guard
    step = state.step([[-N.x_max] * 4], [[True] * 4])
    assert state.maximum == [32767] and step.new_shift == [63]
    assert state.total == 4 * exp2(0, N) << N.acc_guard


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(-3000, 3000), min_size=4, max_size=4), min_size=1))
def test_sum_is_close(tiles):
    state = RowState((), N)
    for x in tiles:
        state.step(x, [True] * 4)
    x = np.array(tiles) / 256
    exact = (2.0 ** (x - state.maximum)).sum() * N.p_max
    # 3 places for each probability (chord and rounding), one in all for the rescales.
    assert abs(state.total / 2**N.acc_guard - exact) <= 16 * x.size + 1
    assert 0 <= state.total < 1 << N.sum_width
