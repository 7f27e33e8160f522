"""Lanes of a core say where the last queries of all heads attend."""

from dataclasses import replace

import numpy as np
import pytest

from qkloom.rtl.core import Core
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.core import program as attention_program
from qkloom.tb.core import read_back, scoring_program
from qkloom.tb.deal import Call
from qkloom.tb.engines import run
from qkloom.tb.exact import exact_attention
from qkloom.tb.index.masses import block_masses
from qkloom.tb.stalls import Stall
from qkloom.tb.testbench import unpack
from tests.emitted import emitted

PARAMETERS = {
    "size": 8,
    "block_rows": 16,
    "head_dim": 16,
    "tokens": 256,
    "p_width": 14,
    "segments": 8,
    "fraction": 10,
    "row_width": 8,
    "out_width": 2,
    "index_tokens": 256,
}


def heads_of(rng, heads, kv_heads, tokens):
    q = rng.integers(-127, 128, (heads, tokens, 16)).astype(np.int8)
    k = rng.integers(-127, 128, (kv_heads, tokens, 16)).astype(np.int8)
    mantissa = rng.integers(1 << 16, 1 << 17, heads)
    shift = rng.integers(18, 21, heads)
    return q, k, mantissa, shift


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("lanes", "changes", "heads", "kv_heads", "tokens"),
    [
        (("plain", "plain"), {}, 4, 2, 97),
        (("dsp", "lut"), {"gemm": True, "out_width": 2, "crossings": True}, 5, 1, 40),
        (("plain",) * 3, {}, 8, 4, 12),
    ],
)
def test_masses_of_all_heads_in_order(lanes, changes, heads, kv_heads, tokens, stall):
    core = Core(lanes=lanes, **(PARAMETERS | changes))
    rng = np.random.default_rng(tokens)
    q, k, mantissa, shift = heads_of(rng, heads, kv_heads, tokens)
    rows = min(16, tokens)
    call = Call(q[:, -rows:], k, k, mantissa, shift, causal=True, q_start=tokens - rows)
    testbench = scoring_program(core, call, max_cycles=200_000, stall=Stall(stall, seed=1))
    result = run(emitted(core), testbench)
    found = unpack(core.o_mass.payload.shape(), result.outputs["o_mass"])
    lane = Numerics(size=8, head_dim=16, tokens=256)
    numerics = IndexNumerics(lane=lane, block=16, tokens=256)
    n = -(-tokens // 16)
    for head in range(heads):
        expected = block_masses(
            q[head], k[head * kv_heads // heads], int(mantissa[head]), int(shift[head]), numerics
        )
        here = slice(head * n, (head + 1) * n)
        assert found["vertical"][here].tolist() == expected.vertical.tolist()
        assert found["slash"][here].tolist() == expected.slash[::-1].tolist()
        assert found["mean"][here].tolist() == expected.mean.tolist()
        assert found["last"][here].tolist() == (n - 1) * [0] + [1]


def test_no_head_is_forgotten_when_masses_wait():
    # Lanes far away have room for more heads than turns wait.
    core = Core(lanes=("plain",), slots=6, crossings=True, **PARAMETERS)
    rng = np.random.default_rng(4)
    q, k, mantissa, shift = heads_of(rng, 40, 40, 9)
    call = Call(q, k, k, mantissa, shift, causal=True)
    testbench = scoring_program(core, call, max_cycles=100_000)
    waits = replace(testbench.outputs["o_mass"], stall=Stall(0.998, seed=1))
    testbench = replace(testbench, outputs={**testbench.outputs, "o_mass": waits})
    found = unpack(core.o_mass.payload.shape(), run(emitted(core), testbench).outputs["o_mass"])
    assert found["last"].tolist() == 40 * [1]


def test_masses_wait_while_the_next_head_is_scored():
    core = Core(lanes=("plain",), **PARAMETERS)
    q, k, mantissa, shift = heads_of(np.random.default_rng(5), 2, 2, 256)
    call = Call(q[:, -16:], k, k, mantissa, shift, causal=True, q_start=240)
    testbench = scoring_program(core, call, max_cycles=100_000)
    late = replace(testbench.outputs["o_mass"], stall=Stall(0.5, burst=5000, seed=6))
    testbench = replace(testbench, outputs={**testbench.outputs, "o_mass": late})
    result = run(emitted(core), testbench)
    assert result.transfers["o_mass"][0] >= 5000
    assert result.transfers["i_key"][-1] < 5000


def test_attention_is_what_it_is_without():
    core = Core(lanes=("plain", "plain"), **PARAMETERS)
    rng = np.random.default_rng(3)
    q, k, mantissa, shift = heads_of(rng, 2, 1, 40)
    v = rng.integers(-127, 128, k.shape).astype(np.int8)
    call = Call(q, k, v, mantissa, shift, causal=True)
    testbench = attention_program(core, call, max_cycles=100_000)
    result = run(emitted(core), testbench)
    lane = Numerics(size=8, head_dim=16, tokens=256)
    expected = exact_attention(q, k, v, mantissa, shift, lane, block_rows=16, causal=True)
    assert (read_back(core, call, result.outputs["o"]) == expected).all()
