"""What a cache of KV blocks is told, and what it answers."""

from amaranth.lib import data

from ..check import check_count
from ..lane.job import index

__all__ = [
    "BYPASSES",
    "EVENTS",
    "POLICIES",
    "THRESHOLD_BITS",
    "check_cache",
    "decision_layout",
    "hot_above",
    "visit_layout",
]

BYPASSES = 2
"""Buffers for blocks that are kept nowhere: one fills while the other is sent to the lanes."""

EVENTS = data.StructLayout({"hit": 2, "fill": 2, "evict": 2, "bypass": 1})
"""What became of a visit: a bit for each tier, 0 the cold one, or that it is kept nowhere."""

THRESHOLD_BITS = 8
"""Bits of the share of a call's query blocks above which jobs left make a KV block hot."""

POLICIES = ("next-use", "liveness", "lru", "none")
"""What leaves when there is no room. ``next-use``: what is needed again last; ``liveness``: nothing
but what nobody needs any more (FAST-Prefill); ``lru``: what was needed last longest ago; ``none``:
nothing is kept."""


def check_cache(
    *, policy: str, hot: int, cold: int, blocks: int, heads: int, windows: int, lookahead: int
) -> None:
    """Refuse what no cache can be.

    Raises
    ------
    TypeError, ValueError
        When the policy is unknown, a number is out of range, or there is no slot at all.
    """
    if policy not in POLICIES:
        raise ValueError(f"Policy must be one of {', '.join(POLICIES)}, not {policy!r}")
    counts = {"Blocks": blocks, "Heads": heads, "Windows": windows, "Lookahead": lookahead}
    for name, value in counts.items():
        check_count(name, value)
    for name, value in {"Hot": hot, "Cold": cold}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a number of slots, 0 or more, not {value!r}")
    if policy != "none" and not hot + cold:
        raise ValueError("Hot and cold must be one slot at least together, not 0 and 0")


def hot_above(share: int, query_blocks: int) -> int:
    """Return the jobs left above which a block is hot, in a call of so many query blocks."""
    return share * query_blocks >> THRESHOLD_BITS


def visit_layout(*, blocks: int, heads: int, windows: int) -> data.StructLayout:
    """Return the layout of a visit: a KV block that a window of query blocks needs.

    ``next`` is the window that needs the block again, which none does if it is ``dead``; ``hot``:
    it has many jobs left.
    """
    return data.StructLayout(
        {
            "head": index(heads),
            "block": index(blocks),
            "next": range(windows + 1),
            "dead": 1,
            "hot": 1,
        }
    )


def decision_layout(*, slots: int, blocks: int, heads: int) -> data.StructLayout:
    """Return the layout of what becomes of a visit.

    ``slot``: where the block is, or comes to; from ``slots`` on the buffers of blocks that are kept
    nowhere. ``fetch``: it is not there yet.
    """
    return data.StructLayout(
        {"slot": index(slots + BYPASSES), "fetch": 1, "head": index(heads), "block": index(blocks)}
    )
