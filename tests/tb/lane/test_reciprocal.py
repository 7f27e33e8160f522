import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.lane.reciprocal import align, exponent, reciprocal


@settings(deadline=None, derandomize=True)
@given(st.integers(1, (1 << 45) - 1))
def test_exponent(total):
    assert exponent(total) == total.bit_length() - 1


def test_every_aligned_total():
    total = np.arange(1 << 18, 1 << 19)
    r = reciprocal(total)
    assert (r >= 1 << 16).all() and (r < 1 << 17).all()
    error = r * total / 2**35 - 1
    assert error.max() <= 0 and error.min() > -(2**-16)


@settings(deadline=None, derandomize=True)
@given(st.integers(1, (1 << 45) - 1))
def test_any_total(total):
    e = total.bit_length() - 1
    aligned = total * 2**18 // 2**e
    assert align(total, e) == aligned
    assert reciprocal(total) == (2**35 - 1) // aligned


@settings(deadline=None, derandomize=True)
@given(st.integers(-(1 << 45), 1 << 45), st.integers(18, 44))
def test_align_floors(value, e):
    assert align(value, e) == value // 2 ** (e - 18)
