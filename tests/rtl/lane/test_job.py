"""Jobs, steps and passes hold what they must; what makes no lane is refused."""

import re

import pytest
from amaranth.hdl import Shape

from qkloom.rtl.lane.job import (
    block_layout,
    check_chunk,
    check_digits,
    check_shape,
    index,
    job_layout,
    pass_layout,
    step_layout,
)
from qkloom.rtl.lane.tag import tag_layout
from qkloom.tb.simulate import from_bits, to_bits

SHAPE = {"size": 4, "block_rows": 6, "head_dim": 12, "slots": 3}
TOKENS = 100
LAYOUTS = [
    block_layout,
    pass_layout,
    tag_layout,
    lambda **shape: job_layout(tokens=TOKENS, **shape),
    lambda **shape: step_layout(tokens=TOKENS, **shape),
]


def test_an_index_has_a_bit_at_least():
    assert [Shape.cast(index(n)).width for n in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]


def test_a_job_holds_extremes():
    layout = job_layout(**SHAPE, tokens=TOKENS)
    job = dict.fromkeys(("first", "last", "causal"), 1) | {
        "slot": 2,
        "rows": 6,
        "d_tiles": 3,
        "keys": 6,
        "mantissa": (1 << 17) - 1,
        "shift": 63,
        # The last query sees its last key far to the right, or its first one is far ahead.
        "diagonal": 2 * TOKENS,
    }
    for diagonal in (2 * TOKENS, -2 * TOKENS):
        job["diagonal"] = diagonal
        assert from_bits(layout, to_bits(layout, job)) == job


def test_a_step_is_a_job_of_one_key_tile():
    job, step = job_layout(**SHAPE, tokens=TOKENS), step_layout(**SHAPE, tokens=TOKENS)
    assert set(step.members) == {*job.members, "bank"}
    assert (job.members["keys"], step.members["keys"]) == (range(7), range(5))


def test_a_pass_tells_where_it_is():
    layout = pass_layout(**SHAPE)
    assert layout.members["tile"] == range(3)
    assert layout.members["d_tiles"] == range(4)
    assert pass_layout(size=4, block_rows=1, head_dim=4, slots=1).members["tile"] == range(2)


def test_a_block_is_part_of_a_pass():
    block, work = block_layout(**SHAPE), pass_layout(**SHAPE)
    assert block.members == {name: work.members[name] for name in ("slot", "rows", "d_tiles")}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["size", "block_rows", "head_dim", "slots"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-4, ValueError), (4.0, TypeError)])
def test_bad_shapes(layout, name, value, error):
    what = name.replace("k_r", "k r").capitalize()
    message = re.escape(f"{what} must be a positive integer, not {value!r}")
    with pytest.raises(error, match=f"^{message}$"):
        layout(**SHAPE | {name: value})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_head_is_whole_tiles(layout):
    with pytest.raises(ValueError, match=r"^Head_dim must be a multiple of size 4, not 6$"):
        layout(**SHAPE | {"head_dim": 6})


def test_tokens():
    check_shape(**SHAPE, tokens=1)
    for layout in (job_layout, step_layout, check_shape):
        with pytest.raises(ValueError, match=r"^Tokens must be a positive integer, not 0$"):
            layout(**SHAPE, tokens=0)


def test_digits():
    check_digits(1)
    check_digits(2)
    for digits in (0, 3, "two"):
        with pytest.raises(ValueError, match=f"^Digits must be 1 or 2, not {digits!r}$"):
            check_digits(digits)


def test_chunks():
    for row_width in (1, 2, 3, 6):
        check_chunk("Row width", row_width, size=6)
    for row_width in (4, 12):
        with pytest.raises(ValueError, match=f"^Row width must divide size 6, not {row_width}$"):
            check_chunk("Row width", row_width, size=6)
    with pytest.raises(ValueError, match=r"^Row width must be a positive integer, not 0$"):
        check_chunk("Row width", 0, size=6)
