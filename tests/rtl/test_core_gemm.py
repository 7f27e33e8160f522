"""A core multiplies matrices: the same bits for any number of lanes, chunks, groups and stalls."""

from dataclasses import replace

import numpy as np
import pytest

from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.core import Core
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb import core as attention
from qkloom.tb.engines import run
from qkloom.tb.exact import exact_attention
from qkloom.tb.gemm import Product, exact_gemm, program, read_back
from qkloom.tb.testbench import Stall
from tests.emitted import emitted

SMALL = {
    "size": 4,
    "block_rows": 8,
    "head_dim": 8,
    "tokens": 64,
    "p_width": 14,
    "segments": 8,
    "fraction": 8,
    "row_width": 2,
    "out_width": 1,
}


def product_of(*, m, k, n, head_dim=8, side=1, seed=1, bits=8):
    rng = np.random.default_rng(seed)
    end = 1 << bits - 1
    x = rng.integers(-end, end, (m, k)).astype(np.int8)
    w = rng.integers(-128, 128, (n, k)).astype(np.int8)
    groups = n // head_dim
    # Outputs of about -200 to 200: some of them are clipped.
    shift = np.full(groups, round(np.log2(end * 128 * np.sqrt(k) / 3)) + 16 - 13 - 7)
    mantissa = rng.integers(1 << 16, 1 << 17, groups)
    return Product(x, w, mantissa, shift, head_dim=head_dim, side=side, bits=bits)


def check(
    product, *, lanes, stall=0.0, seed=0, slow=(), engine="pysim", max_cycles=20_000, **changes
):
    parameters = SMALL | changes
    core = Core(lanes=lanes, **parameters, gemm=True)
    names = ("size", "head_dim", "tokens", "p_width", "segments", "fraction")
    numerics = Numerics(**{name: parameters[name] for name in names})
    testbench = program(core, product, max_cycles=max_cycles, stall=Stall(stall, seed=seed))
    for name in slow:
        streams = testbench.outputs if name == "o" else testbench.inputs
        streams[name] = replace(streams[name], stall=Stall(0.9, seed=seed))
    target = UltraScale() if engine == "verilator" else None
    result = run(emitted(core, verilog=target is not None, target=target), testbench, engine=engine)
    assert result.problem() is None
    expected = exact_gemm(product, numerics)
    assert np.array_equal(read_back(core, product, result.outputs["o"]), expected)
    assert len(np.unique(expected)) > 20
    assert (expected == 127).any()
    assert (expected == -128).any()
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("p_width", [8, 14])
def test_one_lane(p_width, stall):
    check(product_of(m=11, k=24, n=16), lanes=("plain",), p_width=p_width, stall=stall)


@pytest.mark.parametrize("name", ["i_job", "i_query", "i_key", "o"])
def test_one_stream_is_slow(name):
    """What does not depend on it runs ahead, and must not be taken for what is still to come."""
    check(product_of(m=11, k=40, n=16), lanes=("plain",), slow=[name])


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("n_lanes", [2, 3])
def test_lanes_share_activations_and_weights(n_lanes, side):
    """Rounds of several row blocks, of several groups, and of both; the last one is not full."""
    product = product_of(m=19, k=16, n=24, side=side, seed=side)
    check(product, lanes=("plain",) * n_lanes, stall=0.3, seed=n_lanes, engine="cxxrtl")


@pytest.mark.parametrize(("m", "k", "n", "head_dim"), [(1, 4, 4, 4), (1, 24, 4, 4), (3, 8, 32, 4)])
def test_small_products(m, k, n, head_dim):
    """One row, one chunk, one tile: where little is between a row and its next sum."""
    rng = np.random.default_rng(m)
    x, w = (rng.integers(-128, 128, (a, k)).astype(np.int8) for a in (m, n))
    groups = n // head_dim
    factor = np.full(groups, 1 << 16), np.full(groups, 9)
    product = Product(x, w, *factor, head_dim=head_dim)
    core = Core(lanes=("plain",), **SMALL, gemm=True)
    result = run(emitted(core), program(core, product, max_cycles=2000), engine="pysim")
    assert result.problem() is None
    names = ("size", "head_dim", "tokens", "p_width", "segments", "fraction")
    expected = exact_gemm(product, Numerics(**{name: SMALL[name] for name in names}))
    assert np.array_equal(read_back(core, product, result.outputs["o"]), expected)
    assert len(np.unique(expected)) > min(m * n // 2, 20)


def test_lanes_of_every_kind():
    product = product_of(m=13, k=32, n=16, side=2, bits=5)
    lanes = ("dsp", "lut", "lut+serial")
    check(product, lanes=lanes, stall=0.2, engine="cxxrtl")


def test_lanes_of_primitives():
    """The Verilog of DSP slices and LUT memories has the outputs and cycles of their twins."""
    cycles = {
        engine: check(
            product_of(m=9, k=16, n=8), lanes=("dsp", "lut"), stall=0.2, engine=engine
        ).cycles
        for engine in ("cxxrtl", "verilator")
    }
    assert cycles["cxxrtl"] == cycles["verilator"]


def test_the_array_never_waits_for_sums_to_move():
    """More chunks take as many cycles as their MACs, when chunks have more tiles than digits."""
    shape = {"block_rows": 32, "head_dim": 16}
    cycles = [
        check(
            product_of(m=32, k=k, n=16, head_dim=16), lanes=("plain",), engine="cxxrtl", **shape
        ).cycles
        for k in (64, 112)
    ]
    assert cycles[1] - cycles[0] == 32 * 48 * 16 // 4**2


@pytest.mark.parametrize("p_width", [8, 14])
def test_attention_on_the_same_lanes(p_width):
    rng = np.random.default_rng(4)
    q, k, v = (rng.integers(-128, 128, (2, n, 8)).astype(np.int8) for n in (9, 13, 13))
    call = attention.Call(q, k, v, np.array([1 << 16, 99_999]), np.array([23, 24]), causal=True)
    core = Core(lanes=("plain", "plain"), **SMALL | {"p_width": p_width}, gemm=True)
    testbench = attention.program(core, call, max_cycles=5000, stall=Stall(0.3, seed=1))
    result = run(emitted(core), testbench, engine="cxxrtl")
    assert result.problem() is None
    names = ("size", "head_dim", "tokens", "segments", "fraction")
    numerics = Numerics(**{name: SMALL[name] for name in names}, p_width=p_width)
    expected = exact_attention(
        q, k, v, call.mantissa, call.shift, numerics, block_rows=8, causal=True
    )
    assert np.array_equal(attention.read_back(core, call, result.outputs["o"]), expected)


def test_outputs_must_fit_words():
    with pytest.raises(ValueError, match=r"^Out width must be at most 1 with gemm, not 2$"):
        Core(lanes=("plain",), **SMALL | {"out_width": 2}, gemm=True)
