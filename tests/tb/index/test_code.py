"""Codes: their order, and what they stand for."""

import numpy as np
import pytest

from qkloom.rtl.index.code import code_width
from qkloom.tb.index.code import decode, encode


@pytest.mark.parametrize(("width", "fraction"), [(3, 1), (3, 2), (8, 1), (12, 4), (16, 11)])
def test_all_values(width, fraction):
    values = np.arange(1 << width)
    codes = encode(values, fraction=fraction)
    # Every code up to the largest is used, in the order of the values.
    assert np.array_equal(np.unique(codes), np.arange(codes[-1] + 1))
    assert (np.diff(codes) >= 0).all()
    assert int(codes[-1]).bit_length() == code_width(width, fraction)
    for code in np.unique(codes):
        assert decode(code, fraction=fraction) == values[codes == code].min()


def test_error():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 32, 10_000) >> rng.integers(0, 32, 10_000)
    lost = values - decode(encode(values))
    assert (lost >= 0).all()
    assert (lost <= values * 2.0**-11).all()
    assert not lost[values < 1 << 12].any()


def test_by_hand():
    values = [0, 1, 7, 8, 15, 16, 17, 31, 32, 35, 36, 255]
    codes = [0, 1, 7, 8, 15, 16, 16, 23, 24, 24, 25, 47]
    assert encode(values, fraction=3).tolist() == codes
    assert decode(codes, fraction=3).tolist() == [0, 1, 7, 8, 15, 16, 16, 30, 32, 32, 36, 240]
