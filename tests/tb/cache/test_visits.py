import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.cache.control import describe_visits
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import told_apart, visits_of, what_is_needed
from qkloom.tb.core import Call, schedule
from qkloom.tb.errors import InputError
from qkloom.tb.index.uses import uses_of

from .strategies import needs_of


def test_by_hand():
    first = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], bool)
    second = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], bool)
    visits = visits_of(np.stack([first, second]), kv_heads=1, pairs_per_window=4)
    assert visits.window.tolist() == [0, 0, 1, 1, 1]
    assert visits.block.tolist() == [0, 1, 0, 1, 2]
    assert visits.jobs.tolist() == [3, 1, 1, 1, 2]
    assert visits.distance.tolist() == [1, 1, 0, 0, 0]
    assert visits.uses.tolist() == [4, 2, 2]
    assert (len(visits), visits.n_jobs) == (5, 8)


def test_kv_heads_have_windows_and_blocks_of_their_own():
    needs = np.ones((2, 3, 2), bool)
    visits = visits_of(needs, kv_heads=2, pairs_per_window=2)
    assert visits.window.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert visits.block.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert visits.jobs.tolist() == [2, 2, 1, 1, 2, 2, 1, 1]
    assert visits.distance.tolist() == [1, 1, 0, 0, 1, 1, 0, 0]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(needs_of(kv_heads=2), st.sampled_from([1, 2, 3, 5, 7, 300]))
def test_by_definition(needs, pairs_per_window):
    heads, n_q, n = needs.shape
    group = heads // 2
    expected, window = [], 0
    for kv_head in range(2):
        pairs = [(q, kv_head * group + h) for q in range(n_q) for h in range(group)]
        for first in range(0, len(pairs), pairs_per_window):
            part = pairs[first : first + pairs_per_window]
            for block in range(n):
                jobs = sum(int(needs[head, q, block]) for q, head in part)
                if jobs:
                    expected.append((window, kv_head * n + block, jobs))
            window += 1
    visits = visits_of(needs, kv_heads=2, pairs_per_window=pairs_per_window)
    columns = (visits.window, visits.block, visits.jobs)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected
    for number, (window, block, _) in enumerate(expected):
        later = [w for w, b, _ in expected[number + 1 :] if b == block]
        assert visits.distance[number] == (later[0] - window if later else 0)
    assert visits.uses.sum() == needs.sum()


def test_sums_of_many_pairs():
    needs = np.ones((1, 600, 2), bool)
    assert visits_of(needs, kv_heads=1, pairs_per_window=255).jobs.max() == 255
    assert visits_of(needs, kv_heads=1, pairs_per_window=600).jobs.tolist() == [600, 600]


def test_more_blocks_than_two_bytes_number():
    needs = np.zeros((1, 2, 70_000), bool)
    needs[:, :, [0, 1 << 16]] = True  # equal in their lower bytes
    visits = visits_of(needs, kv_heads=1, pairs_per_window=1)
    assert visits.distance.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_tells_what_the_table_of_uses_tells(window):
    rng = np.random.default_rng(window)
    masks = np.tril(rng.random((3, 9, 9)) < 0.3)
    visits = visits_of(masks, kv_heads=1, pairs_per_window=3 * window)
    uses = [(n, use) for n, found in enumerate(uses_of(masks, window)) for use in found]
    assert visits.window.tolist() == [number for number, _ in uses]
    assert visits.block.tolist() == [use.block for _, use in uses]
    assert visits.jobs.tolist() == [use.jobs for _, use in uses]
    assert visits.distance.tolist() == [use.next - n if use.next else 0 for n, use in uses]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 20), st.booleans(), st.integers(-9, 9), st.integers(0, 99)
)
def test_needed_is_what_the_schedule_has_jobs_for(n_q, n_kv, causal, q_start, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, -(-n_q // 4), -(-n_kv // 4))) < 0.4
    q, k = np.zeros((2, n_q, 8), np.int8), np.zeros((1, n_kv, 8), np.int8)
    factors = np.ones(2, np.int64)
    call = Call(q, k, k, factors, factors, causal=causal, q_start=q_start, block_mask=masks)
    expected = np.zeros_like(masks)
    for entries in schedule(call, lanes=3, slots=2, block_rows=4):
        for entry in entries:
            expected[entry.head, entry.first // 4, list(entry.blocks)] = True
    found = what_is_needed(masks, block=4, n_q=n_q, n_kv=n_kv, causal=causal, q_start=q_start)
    assert (found == expected).all()


@pytest.mark.parametrize("windows", [1, 3, 20])
def test_what_comes_again_late_is_not_told_apart(windows):
    rng = np.random.default_rng(windows)
    visits = visits_of(rng.random((6, 9, 5)) < 0.3, kv_heads=2, pairs_per_window=3)
    told = told_apart(visits, blocks=5, windows=windows)
    rules = CacheRules(cold=1)
    expected = [x["next"] for x in describe_visits(visits, rules, blocks=5, windows=windows)]
    begin = np.where(visits.block < 5, 0, visits.window[visits.block >= 5].min())
    found = np.where(told.distance > 0, told.window - begin + told.distance, 0)
    assert found.tolist() == expected
    assert (found.max() < windows) == (windows == 20)


def test_refuses():
    needs = np.ones((3, 2, 2), bool)
    with pytest.raises(InputError, match=r"^kv_heads must divide heads, 3, not be 2$"):
        visits_of(needs, kv_heads=2, pairs_per_window=1)
    with pytest.raises(ValueError, match=r"^Pairs_per_window must be a positive integer, not 0$"):
        visits_of(needs, kv_heads=1, pairs_per_window=0)
