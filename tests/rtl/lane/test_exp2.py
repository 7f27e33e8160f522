import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.exp2 import Exp2
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.lane.exp2 import exp2

VARIANTS = [
    {"segments": 8, "fraction": 6, "p_width": 7},
    {"segments": 64, "fraction": 6, "p_width": 8},  # no bits below the segment
    {"segments": 32, "fraction": 6, "p_width": 9},  # one
    {"segments": 4, "fraction": 7, "p_width": 15},
    {"segments": 8, "fraction": 8, "p_width": 14},
    {"segments": 64, "fraction": 7, "p_width": 16},
    {"segments": 64, "fraction": 6, "p_width": 4, "stream_width": 4},  # slopes of 0
    {"segments": 8, "fraction": 8, "p_width": 7, "stream_width": 4},
]


def run(parameters, ys, visible):
    """Feed one distance a cycle; return what comes out ``latency`` cycles later."""
    dut = Exp2(**parameters)
    found = []

    async def drive(ctx):
        for cycle in range(len(ys) + dut.latency):
            if cycle < len(ys):
                ctx.set(dut.i, {"y": int(ys[cycle]), "visible": int(visible[cycle])})
            if cycle >= dut.latency:
                found.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return np.array(found)


@pytest.mark.parametrize("parameters", VARIANTS)
def test_every_distance_that_counts(parameters):
    numbers = Numerics(size=1, head_dim=1, tokens=1, **parameters)
    fraction = parameters["fraction"]
    # All up to one integer beyond the last that gives a probability, and the far end.
    ys = np.r_[np.arange((numbers.n_max + 2) << fraction), (1 << fraction + np.arange(5, 17))]
    ys = np.r_[ys, (1 << 17 + fraction) - 1]
    visible = np.random.default_rng(0).random(len(ys)) < 0.9
    visible[:2] = True
    found = run(parameters, ys, visible)
    assert np.array_equal(found, np.where(visible, exp2(ys, numbers), 0))
    assert found[0] == found.max() <= numbers.p_max


def test_largest_table_in_places():
    parameters = {"segments": 64, "fraction": 12, "p_width": 16}
    numbers = Numerics(size=1, head_dim=1, tokens=1, **parameters)
    rng = np.random.default_rng(1)
    ys = np.r_[rng.integers(0, 4 << 12, 1500), rng.integers(0, 19 << 12, 500)]
    assert np.array_equal(run(parameters, ys, np.ones_like(ys)), exp2(ys, numbers))


def test_latency():
    assert Exp2(segments=8, fraction=8, p_width=14).latency == 6
    assert Exp2(segments=8, fraction=8, p_width=15).latency == 7


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"segments": 10}, ValueError, "Segments must be a power of two from 4 to 64, not 10"),
        ({"fraction": 13}, ValueError, "Fraction must be 6 to 12, not 13"),
        ({"p_width": 6}, ValueError, "P_width must be 7 to 16 when stream_width is 8, not 6"),
        (
            {"stream_width": 4, "p_width": 9},
            ValueError,
            "P_width must be 4 to 8 when stream_width is 4, not 9",
        ),
        ({"p_width": "8"}, TypeError, "P_width must be an integer, not '8'"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Exp2(**(VARIANTS[0] | change))


def test_it_converts():
    for parameters in VARIANTS[:2]:
        assert "module \\exp2_" in emit(Exp2(**parameters)).rtlil
