"""Where KV blocks are: slots in fast memory, of which each head has its own."""

from amaranth.lib import data

from ..check import check_count
from ..lane.job import index

__all__ = ["check_slots", "place_layout", "request_layout"]


def check_slots(*, heads: int, blocks: int, k: int) -> None:
    """Check the sizes of the slots of all heads.

    Raises
    ------
    TypeError, ValueError
        When one is not a positive integer, or ``k`` is 1: then there is a tail and nothing else.
    """
    check_count("Heads", heads)
    check_count("Blocks", blocks)
    if check_count("Slots", k) < 2:
        raise ValueError(f"Slots must be at least 2, one of them for the tail, not {k!r}")


def request_layout(*, heads: int, blocks: int, k: int) -> data.StructLayout:
    """Return a KV block of a head and a slot of it: what a mover of blocks is asked with.

    ``head`` numbers the KV heads of all layers, and of all sequences, through; ``slot`` is one of
    the head's own, 0 to ``k - 1``.

    Raises
    ------
    TypeError, ValueError
        As of :func:`check_slots`.
    """
    check_slots(heads=heads, blocks=blocks, k=k)
    return data.StructLayout({"head": index(heads), "block": index(blocks), "slot": index(k)})


def place_layout(*, heads: int, blocks: int, k: int) -> data.StructLayout:
    """Return an item of a list of blocks and their slots, all of one head.

    A list is its entries, then one item with ``end``, of which only the head counts, and ``last``:
    that the list was the last one of its layer. Of entries ``last`` is 0, and of an end ``block``
    and ``slot``.

    Raises
    ------
    TypeError, ValueError
        As of :func:`check_slots`.
    """
    members = request_layout(heads=heads, blocks=blocks, k=k).members
    return data.StructLayout({**members, "end": 1, "last": 1})
