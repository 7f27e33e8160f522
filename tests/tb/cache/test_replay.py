"""The replay against the exact model, decision by decision."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from qkloom.rtl.cache.visit import POLICIES
from qkloom.tb.cache.exact import ExactCache
from qkloom.tb.cache.faults import EmptyListError, JobListError, TooFewUsesError, TooManyUsesError
from qkloom.tb.cache.native import replay_native
from qkloom.tb.cache.replay import Replay, Tiers, replay, replay_exact
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of

from .strategies import lists, rules


def long_list(seed=1, n=120):
    rng = np.random.default_rng(seed)
    needs = np.tril(rng.random((2, n, n)) < 0.15)
    needs[:, :, 0] = True
    return visits_of(needs, kv_heads=1, pairs_per_window=3)


def same(one, other):
    """Tell whether replays agree about each visit."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("kind", "slot", "victim")
    )


@settings(max_examples=400, derandomize=True, deadline=None)
@given(given=rules(), visits=lists(most=12))
def test_native_decides_as_the_model_does(library, given, visits):
    native = Replay(given, visits, *replay_native(library, given, visits))
    assert same(native, replay_exact(given, visits))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("hot", "cold"), [(0, 9), (70, 0), (5, 12)])
def test_long_lists(library, policy, hot, cold):
    visits = long_list()
    assert len(visits) > 1000  # so that it is the library that answers
    given = CacheRules(policy, hot=hot, cold=cold, threshold=25, lookahead=4, horizon=4)
    found = replay(given, visits)
    assert same(found, replay_exact(given, visits))
    if policy != "none":
        assert 0 < found.fetched.sum() < len(visits)


def test_counts():
    needs = np.array([[[1, 1, 0], [1, 0, 1], [1, 1, 1]]], bool)
    visits = visits_of(needs, kv_heads=1, pairs_per_window=1)
    made = replay(CacheRules("lru", hot=1, cold=1, threshold=2), visits)
    # 0 hot, 1 cold; 0 hit, 2 for 1; 0 hit, and dead; so 1 takes its slot; 2 hit.
    assert [made.decision(n).slot for n in range(7)] == [0, 1, 0, 1, 0, 0, 1]
    assert [made.decision(n).victim for n in range(7)] == [None, None, None, 1, None, None, None]
    counts = made.counts()
    assert (counts.visits, counts.jobs, counts.misses, counts.bypasses) == (7, 7, 4, 0)
    assert (counts.hits, counts.fills, counts.evictions) == (Tiers(2, 1), Tiers(2, 2), Tiers(0, 1))
    assert (counts.job_hits, counts.hits.total) == (3, 3)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(rules(), lists())
def test_counts_add_up(given, visits):
    made = replay(given, visits)
    counts = made.counts()
    assert counts.visits == len(visits) == counts.hits.total + counts.misses
    assert counts.misses == counts.bypasses + counts.fills.total == made.fetched.sum()
    assert counts.jobs == visits.uses.sum() >= counts.job_hits >= counts.hits.total
    for tier in ("hot", "cold"):
        assert getattr(counts.evictions, tier) <= getattr(counts.fills, tier)
        if not getattr(given, tier):
            assert getattr(counts.hits, tier) == getattr(counts.fills, tier) == 0


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr("qkloom.tb.cache.replay.native_library", lambda: None)
    visits, given = long_list(), CacheRules(cold=8)
    assert len(visits) > 1000
    assert same(replay(given, visits), replay_exact(given, visits))


def test_faults():
    visits, given = long_list(), CacheRules(cold=8)
    none = np.zeros(0, np.int32)
    with pytest.raises(EmptyListError, match=r"^The list of jobs must have one at least, not 0"):
        replay(given, replace(visits, window=none, block=none, jobs=none, distance=none))
    uses = visits.uses.copy()
    uses[3] += 1
    with pytest.raises(TooManyUsesError):
        replay(given, replace(visits, uses=uses))
    uses[3] -= 2
    with pytest.raises(TooFewUsesError):
        replay(given, replace(visits, uses=uses))
    for wrong in (len(uses), -1):
        block = visits.block.copy()
        block[-1] = wrong
        with pytest.raises(JobListError, match=rf"^Block must be 0 to 119, not {wrong}"):
            replay(given, replace(visits, block=block))


def test_an_empty_cache_of_the_model_is_empty():
    assert ExactCache(CacheRules(cold=1), [1]).held == {}
