"""Exact model of :mod:`qkloom.rtl.cache.control`: visits as it is told of them, and its answers."""

from collections.abc import Iterator
from typing import Any

from .exact import Decision, ExactCache
from .rules import CacheRules
from .visits import Visits

__all__ = ["decide", "describe_visits"]


def describe_visits(
    visits: Visits, rules: CacheRules, *, blocks: int, windows: int
) -> Iterator[dict[str, int]]:
    """Yield what the hardware is told of each visit.

    Parameters
    ----------
    visits : Visits
        Of heads with ``blocks`` blocks each.
    rules : CacheRules
        Of a cache that knows all windows.
    windows : int
        Windows of a head that it tells apart.
    """
    left = visits.uses.tolist()
    heads = visits.block // blocks
    first = {head: int(visits.window[heads == head].min()) for head in set(heads.tolist())}
    rows = (visits.window, visits.block, visits.jobs, visits.distance)
    for window, block, jobs, distance in zip(*(row.tolist() for row in rows), strict=True):
        is_hot = left[block] > rules.threshold
        left[block] -= jobs
        head = block // blocks
        after = min(window - first[head] + distance, windows)
        yield {
            "head": head,
            "block": block % blocks,
            "next": after if left[block] else 0,
            "dead": int(not left[block]),
            "hot": int(is_hot),
        }


def decide(visits: Visits, rules: CacheRules) -> list[Decision]:
    """Return what becomes of each visit."""
    cache = ExactCache(rules, visits.uses.tolist())
    rows: tuple[Any, ...] = (visits.block, visits.jobs, visits.window, visits.distance)
    decisions = [
        cache.visit(block, jobs, window, distance or None)
        for block, jobs, window, distance in zip(*(row.tolist() for row in rows), strict=True)
    ]
    cache.end()
    return decisions
