"""Lists of blocks, as units that choose blocks hand them on."""

from amaranth.lib import data

from ..check import check_count

__all__ = ["list_layout"]


def list_layout(blocks: int) -> data.StructLayout:
    """Return an item of a list of block numbers below ``blocks``.

    A list is its entries, then one item with ``end``, whose ``block`` says nothing: so a list
    without entries exists, and whoever makes a list need not know which entry is the last.

    Raises
    ------
    TypeError, ValueError
        When ``blocks`` is not a positive integer.
    """
    check_count("Blocks", blocks)
    return data.StructLayout({"block": range(max(blocks, 2)), "end": 1})
