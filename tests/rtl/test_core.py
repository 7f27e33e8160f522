"""A core gives each lane its work, and the same bits for any number of lanes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.core import Core
from qkloom.rtl.lane.lane import Lane
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.core import program, read_back
from qkloom.tb.deal import Call
from qkloom.tb.engines import run
from qkloom.tb.exact import exact_attention
from qkloom.tb.simulate import simulate, to_bits
from qkloom.tb.testbench import Stall
from tests.emitted import emitted

SMALL = {
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


def call_of(*, heads, kv_heads, n_q, n_kv, seed=1, **options):
    rng = np.random.default_rng(seed)
    q, k, v = (
        rng.integers(-128, 128, (n_heads, n, SMALL["head_dim"])).astype(np.int8)
        for n_heads, n in ((heads, n_q), (kv_heads, n_kv), (kv_heads, n_kv))
    )
    return Call(
        q=q,
        k=k,
        v=v,
        mantissa=rng.integers(1 << 16, 1 << 17, heads),
        shift=rng.integers(22, 25, heads),
        **options,
    )


def check(call, *, n_lanes=1, lanes=None, stall=0.0, seed=0, engine="pysim", **changes):
    """Run a call; return the testbench and what came of it."""
    parameters = SMALL | changes
    core = Core(lanes=lanes or ("plain",) * n_lanes, **parameters)
    names = ("size", "head_dim", "tokens", "p_width", "segments", "fraction")
    numerics = Numerics(**{name: parameters[name] for name in names})
    testbench = program(core, call, max_cycles=20_000, stall=Stall(stall, seed=seed))
    target = UltraScale() if engine == "verilator" else None
    design = emitted(core, verilog=target is not None, target=target)
    result = run(design, testbench, engine=engine)
    assert result.problem() is None
    expected = exact_attention(
        call.q,
        call.k,
        call.v,
        call.mantissa,
        call.shift,
        numerics,
        block_rows=parameters["block_rows"],
        causal=call.causal,
        q_start=call.q_start,
        block_mask=call.block_mask,
    )
    assert np.array_equal(read_back(core, call, result.outputs["o"]), expected)
    return testbench, result


@pytest.mark.parametrize("n_lanes", [2, 3])
def test_causal_attention_of_grouped_heads(n_lanes):
    # Blocks of one round need different numbers of tiles, some of them of different KV heads.
    call = call_of(heads=4, kv_heads=2, n_q=5, n_kv=7, causal=True, q_start=2)
    check(call, n_lanes=n_lanes, stall=0.3, seed=n_lanes)


@pytest.mark.parametrize(("n_lanes", "slots", "kv_blocks"), [(1, 4, 1), (2, 2, 2), (3, 4, 3)])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_windows_of_several_query_blocks_a_lane(n_lanes, slots, kv_blocks, stall):
    """Jobs of two slots take turns, and a KV block that both need is sent once."""
    rng = np.random.default_rng(n_lanes)
    call = call_of(heads=4, kv_heads=2, n_q=30, n_kv=37, causal=True, q_start=7, seed=slots)
    call = replace(call, block_mask=rng.random((4, 4, 5)) < 0.6)
    room = {"slots": slots, "kv_blocks": kv_blocks, "block_rows": 8}
    check(call, n_lanes=n_lanes, stall=stall, seed=n_lanes, engine="cxxrtl", **room)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_lanes_on_other_dies(stall):
    """Lines with registers at both ends cost a few cycles, and no bit."""
    call = call_of(heads=4, kv_heads=2, n_q=5, n_kv=7, causal=True, q_start=2)
    check(call, n_lanes=2, crossings=True, stall=stall, seed=3)
    if not stall:
        little = call_of(heads=1, kv_heads=1, n_q=1, n_kv=1)
        near, far = (check(little, crossings=c)[1].cycles for c in (False, True))
        assert far == near + 6


@pytest.mark.parametrize("p_width", [8, 14])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_lanes_of_different_kinds(p_width, stall):
    # Digits of 8-bit probabilities are unsigned, and stream under the values of one unit with
    # queries that are signed; of 14 bits all are signed.
    call = call_of(heads=3, kv_heads=1, n_q=9, n_kv=13, causal=True, q_start=4)
    lanes = ("dsp", "lut", "plain")
    check(call, lanes=lanes, stall=stall, engine="cxxrtl", p_width=p_width)


@pytest.mark.parametrize(("p_width", "query_bits"), [(7, 5), (14, 2), (14, 8)])
def test_runtime_precision(p_width, query_bits):
    """A lane that takes bits one by one has the same outputs, in fewer cycles for fewer bits."""
    call = call_of(heads=3, kv_heads=1, n_q=9, n_kv=13, causal=True, q_start=4)
    end = (1 << query_bits - 1) - 1
    call = replace(call, q=np.clip(call.q, -end - 1, end), query_bits=query_bits)
    lanes = ("dsp", "lut+serial", "plain")
    check(call, lanes=lanes, stall=0.4, engine="cxxrtl", p_width=p_width)
    cycles = [
        check(replace(call, query_bits=bits), lanes=("lut+serial",), engine="cxxrtl")[1].cycles
        for bits in (query_bits, 8)
    ]
    assert (cycles[0] < cycles[1]) == (query_bits < 8)


def test_lanes_of_primitives():
    """The Verilog of DSP slices and LUT memories has the outputs and cycles of their twins."""
    call = call_of(heads=2, kv_heads=1, n_q=9, n_kv=13)
    cycles = {
        engine: check(call, lanes=("dsp", "lut"), stall=0.2, engine=engine)[1].cycles
        for engine in ("cxxrtl", "verilator")
    }
    assert cycles["cxxrtl"] == cycles["verilator"]


def test_one_lane():
    check(call_of(heads=1, kv_heads=1, n_q=5, n_kv=3), n_lanes=1)


def test_keys_and_values_are_sent_once_for_lanes_that_share_them():
    call = call_of(heads=3, kv_heads=1, n_q=4, n_kv=8)
    testbench, result = check(call, n_lanes=3)
    tokens = 8 * SMALL["head_dim"] // SMALL["size"]
    for name in ("i_key", "i_value"):
        assert len(testbench.inputs[name].values) == len(result.transfers[name]) == tokens


def test_jobs_wait_at_their_lane():
    job = dict.fromkeys(("slot", "causal", "diagonal", "mantissa", "shift"), 0)
    job |= {"first": 1, "last": 1, "rows": 4, "d_tiles": 2, "keys": 4}
    lane, core = Lane(**SMALL), Core(lanes=("plain", "plain"), **SMALL)
    shape = core.i_job.payload.shape()
    at_lane = simulate(
        lane,
        inputs={"i_job": [to_bits(lane.i_job.payload.shape(), job)] * 20},
        outputs=["o"],
        cycles=60,
    )
    at_core = simulate(
        core,
        inputs={"i_job": [to_bits(shape, {"to": 0, "item": job})] * 20},
        outputs=["o"],
        cycles=60,
    )
    assert len(at_core["i_job"].items) == len(at_lane["i_job"].items) + 4


def test_attributes():
    core = Core(lanes=("plain", "plain", "plain"), **SMALL)
    assert core.n_lanes == 3
    widths = {"slots": 2, "stream_width": 8, "stationary_width": 8}
    without = {"gemm": False, "index_tokens": 0, "index_memory": "auto", "kv_blocks": 0}
    assert dict(core.lane_parameters) == SMALL | widths | without
    with pytest.raises(TypeError):
        core.lane_parameters["size"] = 8
    numbers = (core.i_job.payload.to, core.i_query.payload.to, core.o.payload.index)
    assert [len(number) for number in numbers] == [2, 2, 2]
    assert len(core.i_key.payload.to) == len(core.i_value.payload.to) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lanes": ()}, ValueError, "Lanes must be one or more, not ()"),
        ({"lanes": ["plain"]}, TypeError, "Parameter 'lanes' must be immutable, not ['plain']"),
        (
            {"lanes": ("plain", "luts")},
            ValueError,
            "Matrix must be one of 'plain', 'dsp', 'lut', not 'luts'",
        ),
        ({"size": 6}, ValueError, "Size must be a power of two of at least 4, not 6"),
        ({"p_width": 17}, ValueError, "P_width must be 7 to 16 when stream_width is 8, not 17"),
        ({"row_width": 3}, ValueError, "Row width must divide size 4, not 3"),
        ({"block_rows": 0}, ValueError, "Block rows must be a positive integer, not 0"),
        ({"block_rows": 6}, ValueError, "Block rows must be a multiple of size 4, not 6"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Core(**{"lanes": ("plain",), **SMALL} | change)


def test_equal_lanes_are_one_module():
    rtlil = emit(Core(lanes=("plain", "plain"), **SMALL)).rtlil
    assert len(re.findall(r"^module \\lane", rtlil, re.M)) == 1
    assert len(re.findall(r"cell \\lane\w* \\lane_[01]$", rtlil, re.M)) == 2
