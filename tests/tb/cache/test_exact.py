"""Decisions by hand, and what holds of all of them."""

import numpy as np
import pytest
from hypothesis import given, settings

from qkloom.tb.cache.exact import BYPASS, Decision, ExactCache
from qkloom.tb.cache.faults import (
    NoJobsError,
    TooFewUsesError,
    TooManyUsesError,
    UnknownBlockError,
)
from qkloom.tb.cache.rules import CacheRules

from .strategies import lists, rules


def decide(cache, *visits):
    """Return decisions on visits (block, window, distance), of one job each."""
    return [cache.visit(block, 1, window, distance) for block, window, distance in visits]


FILL = Decision
HIT0 = Decision(0, hit=True)


def test_next_use_evicts_what_comes_again_last():
    cache = ExactCache(CacheRules(cold=2, lookahead=1), [2, 2, 2])
    assert decide(cache, (0, 0, 5), (1, 0, 3), (2, 0, 4)) == [FILL(0), FILL(1), FILL(0, victim=0)]
    assert decide(cache, (1, 3, None), (2, 4, None)) == [Decision(1, hit=True), HIT0]
    assert cache.held == {2: 0}
    assert decide(cache, (0, 5, None)) == [FILL(0)]  # free: its block had no job left
    cache.end()
    assert cache.held == {}


def test_next_use_does_not_keep_what_comes_again_last_or_never():
    cache = ExactCache(CacheRules(cold=1, lookahead=1), [2, 2, 1, 2])
    assert decide(cache, (0, 0, 2), (1, 0, 3), (2, 0, None)) == [FILL(0), BYPASS, BYPASS]
    # Of equal windows the order is that of blocks: block 0 comes first.
    assert decide(cache, (3, 0, 2)) == [BYPASS]


def test_far_is_behind_the_horizon_and_as_far_as_it_was_said():
    cache = ExactCache(CacheRules(cold=1, lookahead=1, horizon=4), [2, 2, 2])
    assert decide(cache, (1, 0, 9), (0, 0, 8)) == [FILL(0), FILL(0, victim=1)]  # both far: 5
    assert decide(cache, (2, 2, 3), (1, 2, None)) == [BYPASS, BYPASS]  # 5, and never


def test_the_horizon_itself_is_known():
    cache = ExactCache(CacheRules(cold=1, lookahead=1, horizon=4), [2, 2])
    assert decide(cache, (1, 0, 4), (0, 0, 5)) == [FILL(0), BYPASS]  # 4, and far: 5


def test_pinned_blocks_stay():
    cache = ExactCache(CacheRules(cold=1, lookahead=2), [2, 3])
    assert decide(cache, (0, 0, 9), (1, 0, 1), (1, 1, 1)) == [FILL(0), BYPASS, FILL(0, victim=0)]
    with pytest.raises(TooManyUsesError):
        cache.end()


def test_liveness_never_evicts_and_knows_tiers():
    given = CacheRules("liveness", hot=1, cold=1, threshold=2, lookahead=1)
    cache = ExactCache(given, [3, 2, 3, 2])
    assert decide(cache, (0, 0, 1), (1, 0, 1)) == [FILL(0), FILL(1)]
    assert decide(cache, (2, 0, 1), (3, 0, 1)) == [BYPASS, BYPASS]
    assert decide(cache, (1, 1, None)) == [Decision(1, hit=True)]
    assert decide(cache, (2, 1, 1)) == [FILL(1)]  # 2 jobs left: cold
    # A hot block takes a cold slot when hot ones are full; a cold one never a hot slot.
    cache = ExactCache(given, [3, 3, 2])
    assert decide(cache, (0, 0, 1), (1, 0, 1), (2, 0, 1)) == [FILL(0), FILL(1), BYPASS]
    cache = ExactCache(given, [2, 2])
    assert decide(cache, (0, 0, 1), (1, 0, 1)) == [FILL(1), BYPASS]


def test_lru_evicts_the_oldest_visit_of_either_tier():
    cache = ExactCache(CacheRules("lru", hot=1, cold=1, threshold=9, lookahead=1), [3, 3, 3])
    assert decide(cache, (0, 0, 1), (1, 0, 1)) == [FILL(1), FILL(0)]
    assert decide(cache, (0, 1, 1), (2, 1, 1)) == [Decision(1, hit=True), FILL(0, victim=1)]
    cache = ExactCache(CacheRules("lru", cold=1, lookahead=2), [2, 2])
    assert decide(cache, (0, 0, 1), (1, 0, 1)) == [FILL(0), BYPASS]


def test_none_keeps_nothing():
    cache = ExactCache(CacheRules("none"), [2])
    assert decide(cache, (0, 0, 1), (0, 1, None)) == [BYPASS, BYPASS]
    cache.end()


def test_faults():
    cache = ExactCache(CacheRules(cold=1), [2, 1])
    with pytest.raises(UnknownBlockError, match=r"^Block must be 0 to 1, not 2; give as many"):
        cache.visit(2, 1, 0, None)
    with pytest.raises(NoJobsError, match=r"^A visit must have one job at least, not 0 of block"):
        cache.visit(1, 0, 0, None)
    with pytest.raises(TooFewUsesError, match=r"^Block 0 must have 3 uses left for a visit of 3"):
        cache.visit(0, 3, 0, None)
    cache.visit(0, 2, 0, None)
    with pytest.raises(TooManyUsesError, match=r"^Block 1 must have 0 uses left at the end, not 1"):
        cache.end()


@settings(max_examples=200, derandomize=True, deadline=None)
@given(rules(), lists())
def test_promises(given, visits):
    """Nothing granted leaves, no slot is given twice, nothing dead stays, all is counted."""
    cache = ExactCache(given, visits.uses.tolist())
    left = visits.uses.copy()
    granted = []  # (block, slot) of visits that are not retired
    held = {}
    columns = (visits.block, visits.jobs, visits.window, visits.distance)
    for block, jobs, window, distance in zip(*(c.tolist() for c in columns), strict=True):
        made = cache.visit(block, jobs, window, distance or None)
        if len(granted) == given.lookahead:
            granted.pop(0)
        left[block] -= jobs
        assert cache.left == left.tolist()
        assert made.hit == (block in held)
        if made.victim is not None:
            assert made.victim not in [b for b, slot in granted if slot is not None]
            assert held[made.victim] == made.slot
            assert left[made.victim] > 0
        assert cache.held.get(block) == made.slot
        granted.append((block, made.slot))
        assert all(cache.held[b] == slot for b, slot in granted if slot is not None)
        held = cache.held
        assert len(set(held.values())) == len(held) <= given.slots
        assert all(0 <= slot < given.slots for slot in held.values())
        pinned = {b for b, slot in granted if slot is not None}
        assert all(left[b] > 0 or b in pinned for b in held)
    cache.end()
    assert not np.any(cache.left)
    assert cache.held == {}
