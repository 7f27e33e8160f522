"""Where in a query block a number belongs."""

from typing import Any

from amaranth.hdl import Cat, Value
from amaranth.lib import data

from ..formats import ceil_log2
from .job import index

__all__ = ["chunk_layout", "row_address", "row_layout"]


def row_layout(*, block_rows: int, slots: int) -> data.StructLayout:
    """Return the layout that names a query row: its query block's slot, and its number in there."""
    return data.StructLayout({"slot": index(slots), "row": index(block_rows)})


def chunk_layout(*, block_rows: int, slots: int) -> data.StructLayout:
    """Return the layout that names a chunk of a row of scores.

    ``begin``, ``end``: first, last chunk of the row. ``first``, ``last``: first, last step of the
    query block.
    """
    fields = {"begin": 1, "end": 1, "first": 1, "last": 1}
    return data.StructLayout({"slot": index(slots), "row": index(block_rows), **fields})


def row_address(place: Any, *, block_rows: int, slots: int) -> Value:
    """Return a row's address in a memory of one word per slot and row: as many bits as it needs."""
    return Cat(place.row[: ceil_log2(block_rows)], place.slot[: ceil_log2(slots)])
