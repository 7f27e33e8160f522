import numpy as np
import pytest
from hypothesis import given, settings

from qkloom.tb.cache.replay import replay
from qkloom.tb.cache.report import BlockBytes, cache_report, describe_replay
from qkloom.tb.cache.rules import CacheRules

from .strategies import lists, rules


def test_by_hand():
    """Three query blocks see 1, 2 and 3 blocks, the last of which has 2 tokens of 4."""
    masks = np.ones((1, 3, 3), bool)
    report, made = cache_report(
        masks,
        CacheRules("lru", cold=1),
        kv_heads=1,
        pairs_per_window=2,
        block=4,
        n_q=10,
        n_kv=10,
        token_bytes=8,
    )
    # Windows: blocks 0 and 1 for two query blocks, then 0, 1 and 2 for the last one.
    assert made.visits.block.tolist() == [0, 1, 0, 1, 2]
    assert (report["jobs"], report["visits"], report["misses"], report["live"]) == (6, 5, 5, 3)
    assert report["bytes"] == report["bytes_no_cache"] == report["bytes_lru"] == 4 * 32 + 16
    assert report["bytes_belady"] == 3 * 32 + 16
    assert report["bytes_once"] == 2 * 32 + 16
    assert report["bytes_no_multicast"] == 5 * 32 + 16
    assert report["jobs_per_visit"] == pytest.approx(1.2)
    assert report["served_without_fetch"] == pytest.approx(1 / 6)
    assert report["tiers"]["cold"] == {"slots": 1, "hits": 0, "fills": 5, "evictions": 2}
    assert report["pairs_per_window"] == 2
    # The only slot is taken from the first visit to the last one.
    assert report["occupancy"] == {"hot": [0] * 5, "cold": [1] * 5, "most": 1}


@settings(max_examples=100, derandomize=True, deadline=None)
@given(rules(), lists())
def test_bounds_are_in_order(given, visits):
    made = replay(given, visits)
    report = describe_replay(made, BlockBytes(8, 8, len(visits.uses)))
    assert report["hits"] + report["misses"] == report["visits"]
    assert report["bytes"] == 8 * report["misses"]
    assert report["bytes_once"] <= report["bytes_belady"] <= report["bytes"]
    assert report["bytes"] <= report["bytes_no_cache"] <= report["bytes_no_multicast"]
    assert report["bytes_belady"] <= report["bytes_lru"] <= report["bytes_no_cache"]
    held = report["occupancy"]
    assert 0 <= held["most"] <= given.slots
    assert max(held["cold"]) <= given.cold and max(held["hot"]) <= given.hot
    tiers = report["tiers"].values()
    for name in ("hits", "evictions"):
        assert sum(tier[name] for tier in tiers) == report[name]
