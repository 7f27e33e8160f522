import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.lane.normalize import normalize
from qkloom.tb.lane.reciprocal import align, exponent


def test_nothing_gives_zeros():
    assert normalize([[7, -7], [0, 0]], [0, 5]).tolist() == [[0, 0], [0, 0]]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 1 << 40), st.data())
def test_quotient(total, data):
    acc = data.draw(st.integers(-128 * total, 127 * total))
    out = int(normalize([acc], total)[0]) / 2**16
    # The reciprocal is 2**-16 low at most, acc and total drop below 2**-18 of a total, the rest is
    # the last rounding.
    assert abs(out - acc / total) <= abs(acc / total) * (2**-16 + 2**-18) + 2**-18 + 2**-17


@pytest.mark.parametrize("e", range(5, 40))
def test_27_bits_hold_every_result_that_does_not_saturate(e):
    total = np.array([1 << e, (1 << e + 1) - 1])
    acc = np.stack([-128 * total, 128 * total - 1], axis=-1)
    aligned = align(acc, exponent(total)[:, None])
    assert aligned.min() >= -(1 << 26) and aligned.max() < 1 << 26
    beyond = np.array([-(1 << e + 8) - 1, 1 << e + 8])
    assert normalize(beyond[None], total[1:]).tolist() == [[-(1 << 23), (1 << 23) - 1]]
    assert normalize(beyond[None] << 5, total[:1]).tolist() == [[-(1 << 23), (1 << 23) - 1]]


def test_saturates():
    assert normalize([-129, 129], 1).tolist() == [-(1 << 23), (1 << 23) - 1]
