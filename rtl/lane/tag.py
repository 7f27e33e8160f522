"""What travels with a row through the matrix unit: where its results belong."""

from amaranth.lib import data

from .job import check_shape, index
from .rescale import RESCALE

__all__ = ["tag_layout"]


def tag_layout(*, size: int, block_rows: int, head_dim: int, slots: int) -> data.StructLayout:
    """Return the tag's layout, of about 20 bits."""
    check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
    return data.StructLayout(
        {
            "value": 1,  # second product: the row goes to the output accumulator
            "first": 1,  # nothing to add to: first tile of a sum, or first step of a query block
            "complete": 1,  # last row of a step's Q.K, or of a query block's output
            "partial": 1,  # high digit of a probability; the low digit is right behind
            "slot": index(slots),
            "bank": 1,
            "row": index(block_rows),
            "tile": index(head_dim // size),
            "rescale": RESCALE,  # of the output so far, or of what this row adds
        }
    )
