"""Exact model of :mod:`qkloom.rtl.cache.control`: visits as it is told of them, and its answers."""

from collections.abc import Iterator
from typing import Any

from .exact import Decision, ExactCache
from .rules import CacheRules
from .visits import Visits

__all__ = ["decide", "describe_visits"]


def describe_visits(visits: Visits, rules: CacheRules, blocks: int) -> Iterator[dict[str, int]]:
    """Yield what the hardware is told of each visit, of heads with so many blocks each."""
    left = visits.uses.tolist()
    rows = (visits.window, visits.block, visits.jobs, visits.distance)
    for window, block, jobs, distance in zip(*(row.tolist() for row in rows), strict=True):
        is_hot = left[block] > rules.threshold
        left[block] -= jobs
        is_far = rules.horizon is not None and distance > rules.horizon
        after = window + (rules.horizon + 1 if is_far and rules.horizon else distance)
        yield {
            "head": block // blocks,
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
