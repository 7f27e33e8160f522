import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.lane.scale import Scale
from qkloom.tb.lane.row import base2_scores


def run(dut, words):
    """Feed (scores, mantissa, shift) one a cycle; return what comes ``latency`` cycles later."""
    found = []

    async def drive(ctx):
        for cycle in range(len(words) + dut.latency):
            if cycle < len(words):
                scores, mantissa, shift = words[cycle]
                payload = {"scores": scores, "mantissa": mantissa, "shift": shift}
                ctx.set(dut.i, payload)
            if cycle >= dut.latency:
                found.append([ctx.get(x) for x in dut.o])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


def check(words, *, row_width, score_width, fraction):
    numbers = Numerics(size=1, head_dim=1, tokens=1, p_width=8, segments=4, fraction=fraction)
    expected = [base2_scores(*word, numbers).tolist() for word in words]
    dut = Scale(row_width=row_width, score_width=score_width, fraction=fraction)
    assert run(dut, words) == expected


@pytest.mark.parametrize(("row_width", "score_width", "fraction"), [(1, 16, 12), (3, 26, 6)])
def test_random_and_extreme_scores_at_every_shift(row_width, score_width, fraction):
    rng = np.random.default_rng(score_width)
    low, high = -1 << score_width - 1, (1 << score_width - 1) - 1
    words = []
    for shift in range(64):
        for mantissa in (0, 1, 1 << 16, (1 << 17) - 1, int(rng.integers(1 << 17))):
            some = [low, high, -1, 0, 1, *rng.integers(low, high + 1, 5)]
            words.append((rng.choice(some, row_width).tolist(), mantissa, shift))
    check(words, row_width=row_width, score_width=score_width, fraction=fraction)


@pytest.mark.parametrize("sign", [1, -1])
def test_clamps_exactly_beyond_the_limit(sign):
    fraction = 6
    limit = ((1 << 15) - 1) << fraction
    scores = sign * (limit + np.arange(-2 << fraction, 3 << fraction))
    # The factor is 1: a base-2 score is the score.
    words = [([int(score)], 1 << 16, 16) for score in scores]
    check(words, row_width=1, score_width=26, fraction=fraction)


def test_rounds_ties_up():
    dut = Scale(row_width=4, score_width=16, fraction=6)
    assert run(dut, [([3, 1, -1, -3], 1 << 16, 17)]) == [[2, 1, 0, -1]]


def test_latency():
    assert Scale(row_width=1, score_width=16, fraction=6).latency == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_width": 0}, "Row width must be a positive integer, not 0"),
        ({"score_width": -3}, "Score width must be a positive integer, not -3"),
        ({"fraction": 0}, "Fraction must be a positive integer, not 0"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Scale(**({"row_width": 1, "score_width": 16, "fraction": 8} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"^Fraction must be a positive integer, not 1\.5$"):
        Scale(row_width=1, score_width=16, fraction=1.5)


def test_it_converts():
    assert "module \\top" in emit(Scale(row_width=2, score_width=22, fraction=8), name="top").rtlil
