"""Query blocks go to lanes in rounds, or in windows with longest work first."""

import random
from dataclasses import replace

import numpy as np
import pytest

from qkloom.tb.cache.visits import visits_of, what_is_needed
from qkloom.tb.deal import Call, schedule, windows


def call_of(*, heads=4, kv_heads=2, n_q=6, n_kv=7, **options):
    rng = np.random.default_rng(1)
    q, k, v = (
        rng.integers(-128, 128, (n_heads, n, 8)).astype(np.int8)
        for n_heads, n in ((heads, n_q), (kv_heads, n_kv), (kv_heads, n_kv))
    )
    return Call(q, k, v, np.arange(heads) + 70000, np.arange(heads) + 20, **options)


def blocks_of(call, **options):
    rounds = schedule(call, **({"lanes": 3, "slots": 2, "block_rows": 4} | options))
    return [block for blocks in rounds for block in blocks]


class TestSchedule:
    @pytest.mark.parametrize("lanes", [1, 2, 3, 5])
    def test_each_query_is_computed_once(self, lanes):
        call = call_of()
        computed = np.zeros(call.q.shape[:2], int)
        for block in blocks_of(call, lanes=lanes):
            computed[block.head, block.first : block.first + block.rows] += 1
        assert (computed == 1).all()

    def test_rounds_fill_the_lanes_and_then_the_slots(self):
        places = [(block.lane, block.slot) for block in blocks_of(call_of())]
        assert places == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 0), (1, 0)]

    def test_neighbours_share_their_keys(self):
        heads = [block.head // 2 for block in blocks_of(call_of())]
        assert heads == [0, 0, 0, 0, 1, 1, 1, 1]

    def test_keys_that_a_block_may_see(self):
        assert {block.keys for block in blocks_of(call_of())} == {7}
        causal = blocks_of(call_of(heads=1, kv_heads=1, causal=True, q_start=-5), lanes=1)
        assert [(block.first, block.keys) for block in causal] == [(0, 1), (4, 1)]
        causal = blocks_of(call_of(heads=1, kv_heads=1, causal=True, q_start=2), lanes=1)
        assert [(block.first, block.keys) for block in causal] == [(0, 6), (4, 7)]

    def test_a_selection(self):
        """Keys end with the last block that is selected and seen; none gives a hidden one."""
        mask = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [1, 0]]])
        given = call_of(heads=4, kv_heads=1, causal=True, block_mask=mask.astype(bool))
        found = [(b.head, b.first, b.keys, b.blocks, b.hidden) for b in blocks_of(given)]
        assert found == [
            (0, 0, 4, (0,), False),
            (1, 0, 1, (0,), True),  # what it selects it does not see
            (2, 0, 4, (0,), False),
            (3, 0, 1, (0,), True),
            (0, 4, 6, (1,), False),
            (1, 4, 1, (0,), True),
            (2, 4, 6, (0, 1), False),
            (3, 4, 4, (0,), False),
        ]


class TestWindows:
    @pytest.fixture(params=range(6))
    def made(self, request):
        """Return a call with a selection, how it is dealt, and its windows."""
        rng = random.Random(request.param)
        group, kv_heads = rng.randint(1, 4), rng.randint(1, 3)
        n_q, n_kv = rng.randint(1, 30), rng.randint(1, 40)
        more = {"causal": rng.random() < 0.7, "q_start": rng.randint(-10, 20)}
        call = call_of(heads=group * kv_heads, kv_heads=kv_heads, n_q=n_q, n_kv=n_kv, **more)
        shape = (group * kv_heads, -(-n_q // 4), -(-n_kv // 4))
        masks = np.random.default_rng(request.param).random(shape) < 0.3
        per_lane = rng.randint(1, 3)
        dealt = {"lanes": rng.randint(1, 4), "slots": per_lane + rng.randint(0, 2)}
        call = replace(call, block_mask=masks)
        return call, dealt, windows(call, **dealt, block_rows=4, per_lane=per_lane), per_lane

    def test_each_query_is_computed_once(self, made):
        call, _, found, _ = made
        computed = np.zeros(call.q.shape[:2], int)
        for block in (block for window in found for block in window):
            computed[block.head, block.first : block.first + block.rows] += 1
        assert (computed == 1).all()

    def test_lanes_have_room(self, made):
        _, dealt, found, per_lane = made
        for window in found:
            lanes = [block.lane for block in window]
            assert max(lanes.count(lane) for lane in lanes) <= per_lane
            assert max(lanes) < dealt["lanes"]
            assert len({(block.lane, block.slot) for block in window}) == len(window)

    def test_of_a_block_nobody_sees_fewer_keys_than_those_before(self, made):
        """So the last one of a lane lets go of all of it."""
        _, _, found, _ = made
        for window in found:
            for number in {number for block in window for number in block.blocks}:
                seen = [
                    min(block.keys - 4 * number, 4) for block in window if number in block.blocks
                ]
                assert seen == sorted(seen)

    def test_visits_are_those_of_the_cache(self, made):
        """Two ways from a selection to what is fetched, with the same end."""
        call, dealt, found, per_lane = made
        n_q, n_kv = call.q.shape[1], call.k.shape[1]
        needs = what_is_needed(
            call.block_mask, block=4, n_q=n_q, n_kv=n_kv, causal=call.causal, q_start=call.q_start
        )
        pairs = dealt["lanes"] * per_lane
        visits = visits_of(needs, kv_heads=len(call.k), pairs_per_window=pairs)
        blocks = call.block_mask.shape[2]
        expected = [
            (number, window[0].head // call.group * blocks + column, count)
            for number, window in enumerate(found)
            for column in range(blocks)
            if (count := sum(column in block.blocks for block in window))
        ]
        got = (visits.window.tolist(), visits.block.tolist(), visits.jobs.tolist())
        assert list(zip(*got, strict=True)) == expected

    def test_the_longest_goes_to_the_least_busy(self):
        call = call_of(heads=1, kv_heads=1, n_q=16, n_kv=16)
        masks = np.zeros((1, 4, 4), bool)
        for row, n in enumerate((1, 3, 2, 4)):
            masks[0, row, :n] = True
        call = replace(call, block_mask=masks)
        (first, second) = windows(call, lanes=2, slots=2, block_rows=4, per_lane=1)
        assert [(b.lane, b.slot) for b in first] == [(1, 0), (0, 0)]
        # Lane 0 has had three jobs, lane 1 one.
        assert [(b.lane, b.slot) for b in second] == [(0, 1), (1, 1)]
