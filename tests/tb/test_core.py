"""The host sends every query once, every key tile to the lanes that need it, and reads it back."""

import numpy as np
import pytest
from amaranth.lib import data

from qkloom.rtl.core import Core
from qkloom.tb.core import program, read_back
from qkloom.tb.deal import Call, schedule
from qkloom.tb.packing import pack, unpack
from qkloom.tb.stalls import Stall

LANE = {
    "size": 4,
    "block_rows": 4,
    "head_dim": 8,
    "tokens": 64,
    "p_width": 8,
    "segments": 8,
    "fraction": 8,
    "row_width": 2,
    "out_width": 2,
}


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


def streams_of(call, *, lanes):
    core = Core(lanes=("plain",) * lanes, **LANE)
    testbench = program(core, call, max_cycles=9)
    return testbench, {
        name: unpack(getattr(core, name).payload.shape(), stimulus.values)
        for name, stimulus in testbench.inputs.items()
    }


class TestProgram:
    def test_jobs(self):
        _, streams = streams_of(call_of(heads=1, kv_heads=1, causal=True, q_start=1), lanes=2)
        jobs = streams["i_job"]
        # Lane 0: queries 0 to 3 see keys up to 1 to 4. Lane 1: queries 4 and 5, all but none.
        assert jobs["to"].tolist() == [0, 1, 0, 1]
        item = jobs["item"]
        assert item["rows"].tolist() == [4, 2, 4, 2]
        assert item["keys"].tolist() == [4, 4, 1, 3]
        assert item["diagonal"].tolist() == [1, 5, -3, 1]
        assert item["first"].tolist() == [1, 1, 0, 0]
        assert item["last"].tolist() == [0, 0, 1, 1]
        assert set(item["d_tiles"]) == {2}
        assert set(item["mantissa"]) == {70000}

    def test_queries_are_cut_into_rows_of_the_array(self):
        call = call_of(heads=2, kv_heads=1)
        queries = streams_of(call, lanes=1)[1]["i_query"]
        rows = [call.q[0, :4], call.q[1, :4], call.q[0, 4:], call.q[1, 4:]]
        assert (queries["item"] == np.concatenate([row.reshape(-1, 4) for row in rows])).all()

    def test_a_tile_goes_once_to_all_lanes_that_need_it(self):
        call = call_of(heads=2, kv_heads=1, n_q=4)
        _, streams = streams_of(call, lanes=2)
        for name, tensor in (("i_key", call.k), ("i_value", call.v)):
            sent = streams[name]
            padded = np.zeros((8, 8), np.int8)
            padded[:7] = tensor[0]
            assert (sent["item"]["row"] == padded.reshape(-1, 4)).all()
            assert sent["item"]["last"].tolist() == [0, 1] * 8
            assert set(sent["to"]) == {0b11}

    def test_lanes_that_see_fewer_keys_get_fewer_tiles(self):
        call = call_of(heads=1, kv_heads=1, causal=True, q_start=0)
        sent = streams_of(call, lanes=2)[1]["i_key"]
        assert sent["to"].tolist() == [0b11] * 8 + [0b10] * 8

    def test_a_selection(self):
        mask = np.array([[[0, 1], [1, 1]]], bool)
        given = call_of(heads=1, kv_heads=1, block_mask=mask)
        _, streams = streams_of(given, lanes=2)
        jobs = streams["i_job"]
        assert jobs["to"].tolist() == [1, 0, 1]
        assert jobs["item"]["first"].tolist() == [1, 1, 0]
        assert jobs["item"]["last"].tolist() == [0, 1, 1]
        assert jobs["item"]["keys"].tolist() == [4, 3, 3]
        assert streams["i_key"]["to"].tolist() == [0b10] * 8 + [0b11] * 8

    def test_nothing_selected_is_a_key_that_is_hidden(self):
        given = call_of(heads=1, kv_heads=1, n_q=4, block_mask=np.zeros((1, 1, 2), bool))
        _, streams = streams_of(given, lanes=1)
        item = {name: values.tolist() for name, values in streams["i_job"]["item"].items()}
        assert (item["keys"], item["causal"], item["diagonal"]) == ([1], [1], [-4])
        assert (item["first"], item["last"]) == ([1], [1])

    def test_what_is_awaited(self):
        stall = Stall(0.25, seed=3)
        core = Core(lanes=("plain",), **LANE)
        testbench = program(core, call_of(), max_cycles=77, stall=stall)
        assert testbench.max_cycles == 77
        assert testbench.outputs["o"].count == 4 * 6 * 8 // 2
        assert testbench.outputs["o"].stall == stall
        assert {stimulus.stall for stimulus in testbench.inputs.values()} == {stall}


def test_outputs_are_found_whatever_the_order_of_the_lanes():
    call = call_of()
    core = Core(lanes=("plain",) * 3, **LANE)
    expected = np.random.default_rng(2).integers(-(1 << 23), 1 << 23, call.q.shape)
    beats = [[], [], []]
    for block in blocks_of(call):
        rows = expected[block.head, block.first : block.first + block.rows]
        beats[block.lane] += rows.reshape(-1, 2).tolist()
    shape = core.o.payload.shape()
    assert isinstance(shape, data.StructLayout)
    for order in ((0, 1, 2), (2, 0, 1)):
        index = np.concatenate([np.full(len(beats[lane]), lane) for lane in order])
        row = np.concatenate([beats[lane] for lane in order])
        words = pack(shape, index=index, item={"row": row, "last": 0})
        assert (read_back(core, call, words) == expected).all()
