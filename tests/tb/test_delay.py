import pytest

from qkloom.tb.delay import skew


@pytest.mark.parametrize(
    ("falling", "expected"), [(False, [0x01, 0x24, 0x57, 0x80]), (True, [0x20, 0x51, 0x84, 0x07])]
)
def test_lanes_are_late_by_one_more(falling, expected):
    words = [0x21, 0x54, 0x87, 0x00]
    assert skew(words, width=4, lanes=2, falling=falling) == expected
