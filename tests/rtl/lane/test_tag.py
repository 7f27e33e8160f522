"""A tag names every place that a row's results may belong to."""

import pytest

from qkloom.rtl.lane.tag import tag_layout
from qkloom.tb.simulate import from_bits, to_bits


@pytest.mark.parametrize(
    ("size", "block_rows", "head_dim", "slots", "bits"),
    [(4, 6, 12, 3, 5 + 2 + 3 + 2 + 7), (8, 1, 8, 1, 5 + 1 + 1 + 1 + 7), (32, 128, 256, 2, 23)],
)
def test_extremes(size, block_rows, head_dim, slots, bits):
    layout = tag_layout(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
    assert layout.size == bits
    tag = {
        "value": 1,
        "first": 0,
        "complete": 1,
        "partial": 0,
        "slot": slots - 1,
        "bank": 1,
        "row": block_rows - 1,
        "tile": head_dim // size - 1,
        "rescale": {"amount": 63, "of_new": 1},
    }
    assert from_bits(layout, to_bits(layout, tag)) == tag
