from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.formats import I8, U8, Fixed
from qkloom.tb.formats import round_shift, saturate, wrap


@settings(deadline=None, derandomize=True)
@given(st.integers(-(1 << 61), 1 << 61), st.integers(0, 63))
def test_round_shift(value, amount):
    half_up = Fraction(value, 1 << amount) + Fraction(1, 2)
    assert round_shift(value, amount) == half_up.numerator // half_up.denominator


def test_round_shift_per_element():
    assert round_shift([5, 5, -5, -6], [0, 1, 1, 2]).tolist() == [5, 3, -2, -1]
    assert round_shift([(1 << 61) - 1, -(1 << 61)], 63).tolist() == [0, 0]


def test_saturate_and_wrap():
    values = np.array([-300, -129, -128, 0, 127, 128, 300])
    assert saturate(values, I8).tolist() == [-128, -128, -128, 0, 127, 127, 127]
    assert saturate(values, U8).tolist() == [0, 0, 0, 0, 127, 128, 255]
    assert wrap(values, I8).tolist() == [-44, 127, -128, 0, 127, -128, 44]
    assert wrap(values, U8).tolist() == [212, 127, 128, 0, 127, 128, 44]
    assert wrap(-(1 << 40), Fixed(8, 16)) == 0
