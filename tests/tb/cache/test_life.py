"""Stays and occupancy against the exact model, visit by visit."""

import numpy as np
from hypothesis import given, settings

from qkloom.tb.cache.exact import ExactCache
from qkloom.tb.cache.life import occupancy, stays_of
from qkloom.tb.cache.replay import replay

from .strategies import lists, rules


@settings(max_examples=200, derandomize=True, deadline=None)
@given(rules(), lists())
def test_what_is_held_when(given, visits):
    made = replay(given, visits)
    stays = stays_of(made)
    hot, cold = occupancy(stays, made)
    cache = ExactCache(given, visits.uses.tolist())
    columns = (visits.block, visits.jobs, visits.window, visits.distance)
    for number, (block, jobs, window, distance) in enumerate(zip(*columns, strict=True)):
        cache.visit(int(block), int(jobs), int(window), int(distance) or None)
        held = {stay.block: stay.slot for stay in stays if stay.first <= number < stay.end}
        assert held == cache.held
        assert hot[number] == sum(slot < given.hot for slot in held.values())
        assert hot[number] + cold[number] == len(held)
    counts = made.counts()
    assert len(stays) == counts.fills.total
    assert sum(stay.evicted for stay in stays) == counts.evictions.total
    assert sum(stay.hits for stay in stays) == counts.hits.total
    assert [stay.first for stay in stays] == np.flatnonzero(made.kind == 1).tolist()
