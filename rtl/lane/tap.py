"""What a row unit shows of its work: for units that learn from attention where attention goes."""

from amaranth.hdl import signed
from amaranth.lib import data

from ..formats import Integer, ceil_log2
from .job import index
from .numerics import Numerics
from .place import chunk_layout
from .rescale import RESCALE

__all__ = ["score_tap", "weight_tap"]


def weight_tap(
    *, size: int, block_rows: int, row_width: int, slots: int, p_width: int
) -> data.StructLayout:
    """Return the layout of a chunk of probabilities, as they are summed up.

    ``p``: probabilities, 0 where a key is not visible. ``rescale``: as of
    :data:`~qkloom.rtl.lane.rescale.RESCALE`. ``maximum``: the row's running maximum, this step
    included. ``place``: the row, and where in row and query block the chunk is. ``chunk``: which of
    the row's. ``diagonal``: the low bits of the step's, as many as tell rows of a block apart.
    ``step_end``: last chunk of the step's last row.
    """
    return data.StructLayout(
        {
            "p": data.ArrayLayout(p_width, row_width),
            "rescale": RESCALE,
            "maximum": signed(Numerics.max_width),
            "place": chunk_layout(block_rows=block_rows, slots=slots),
            "chunk": index(size // row_width),
            "diagonal": max(ceil_log2(block_rows), 1),
            "step_end": 1,
        }
    )


def score_tap(*, size: int, row_width: int, score_width: int) -> data.StructLayout:
    """Return the layout of a chunk of scores, as they are read.

    ``scores``: all of them, invisible ones and what fills the tile up included. ``keys``: how many
    keys the tile has. ``chunk``: which of the row's. ``step_end``: last chunk of the
    step's last row. ``last``: of the query block's last step.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(Integer(score_width), row_width),
            "keys": range(size + 1),
            "chunk": index(size // row_width),
            "step_end": 1,
            "last": 1,
        }
    )
