import numpy as np
import pytest

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.lane.output import accumulate


def numerics(p_width):
    return Numerics(size=4, head_dim=8, tokens=64, p_width=p_width, segments=8, fraction=8)


@pytest.mark.parametrize(("p_width", "base"), [(8, None), (14, 1 << 7), (16, 1 << 8)])
def test_digits_are_weighted(p_width, base):
    sums = [[3, -5]] if base is None else [[3, -5], [7, 9]]
    expected = [3, -5] if base is None else [3 * base + 7, -5 * base + 9]
    added = accumulate([0, 0], sums, numerics(p_width))
    assert added.tolist() == [x << Numerics.acc_guard for x in expected]


def test_each_side_is_shifted_and_rounded_on_its_own():
    acc, sums = [5, -5], [[1, 1]]  # the guard makes 16 of a 1
    one_digit = numerics(8)
    assert accumulate(acc, sums, one_digit).tolist() == [21, 11]
    assert accumulate(acc, sums, one_digit, old_shift=1).tolist() == [3 + 16, -2 + 16]
    assert accumulate(acc, sums, one_digit, new_shift=5).tolist() == [5 + 1, -5 + 1]


def test_shifts_by_row():
    acc = np.full((2, 3), 64)
    sums = np.full((1, 2, 3), 2)
    shifts = {"old_shift": np.array([[0], [63]]), "new_shift": np.array([[2], [0]])}
    assert accumulate(acc, sums, numerics(8), **shifts).tolist() == [[72] * 3, [32] * 3]
