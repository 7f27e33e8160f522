import pytest

from qkloom.gen.chip import default_out_width, default_row_width
from qkloom.gen.chip.defaults import default_lookahead


@pytest.mark.parametrize(
    ("size", "digits", "width"),
    [(4, 2, 1), (8, 1, 2), (16, 1, 8), (16, 2, 4), (32, 1, 16), (32, 2, 8), (64, 1, 64)],
)
def test_row_width_keeps_up_with_the_smallest_heads(size: int, digits: int, width: int) -> None:
    assert default_row_width(size, digits) == width


@pytest.mark.parametrize(
    ("size", "block", "digits", "width"),
    [(32, 128, 2, 4), (32, 128, 1, 8), (16, 128, 2, 1), (8, 16, 2, 2), (4, 1024, 2, 1)],
)
def test_out_width_keeps_up_with_short_query_blocks(
    size: int, block: int, digits: int, width: int
) -> None:
    assert default_out_width(size, block, digits) == width


@pytest.mark.parametrize(("slots", "visits"), [(1, 1), (31, 1), (32, 2), (96, 6), (512, 8)])
def test_lookahead_is_a_sixteenth(slots: int, visits: int) -> None:
    assert default_lookahead(slots) == visits
