import pytest

from qkloom.gen.chip import default_out_width, default_row_width
from qkloom.gen.chip.defaults import default_horizon, default_lookahead


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


@pytest.mark.parametrize(("slots", "visits"), [(1, 1), (15, 1), (16, 2), (64, 8), (512, 16)])
def test_lookahead_is_an_eighth(slots: int, visits: int) -> None:
    assert default_lookahead(slots) == visits


@pytest.mark.parametrize(
    ("tokens", "pairs", "windows"),
    [(131072, 12, 86), (131072, 8, 128), (131073, 8, 129), (512, 1, 16), (32768, 8, 32)],
)
def test_horizon_is_a_quarter_of_a_call(tokens: int, pairs: int, windows: int) -> None:
    """Of four heads to a KV head: 4 * 1,024 pairs of 131,072 tokens, 512 windows of 8."""
    assert default_horizon(tokens, 128, pairs) == windows
