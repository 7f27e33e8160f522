import re

import numpy as np
import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.reciprocal import Reciprocal
from qkloom.tb.lane.reciprocal import exponent, reciprocal

TAG = data.StructLayout({"slot": 1, "row": 3})


def run(dut, sums, *, gaps, tags):
    """Send each sum after so many idle cycles; return cycles sent, and (cycle, zero, e, r, tag)."""
    sent, found = [], []

    async def drive(ctx):
        cycle = 0
        for total, gap, tag in zip(sums, gaps, tags, strict=True):
            ctx.set(dut.i.valid, 0)
            for _ in range(gap):
                await ctx.tick()
            ctx.set(dut.i.payload.l, int(total))
            if tag is not None:
                ctx.set(dut.i.payload.tag.as_value(), tag)
            ctx.set(dut.i.valid, 1)
            cycle += gap
            sent.append(cycle)
            await ctx.tick()
            cycle += 1
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(dut.latency + 2)

    async def watch(ctx):
        o = dut.o.payload
        cycle = 0
        has_tag = o.shape().size > 24
        fields = (o.zero, o.e, o.r, *((o.tag.as_value(),) if has_tag else ()))
        async for _, _, valid, *sampled in ctx.tick().sample(dut.o.valid, *fields):
            if valid:
                found.append((cycle, *sampled))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return sent, found


def check(sums, found):
    sums = np.array(sums)
    zero, e, r = np.array([item[1:4] for item in found]).T
    assert np.array_equal(zero, sums == 0)
    some = sums > 0
    assert np.array_equal(e[some], exponent(sums[some]))
    assert np.array_equal(r[some], reciprocal(sums[some]))


@pytest.mark.parametrize("width", [1, 8, 18, 19, 20, 29, 32, 33, 41])
def test_random_and_extreme_sums(width):
    rng = np.random.default_rng(width)
    powers = 1 << np.arange(width)
    sums = np.r_[0, powers, powers - 1, np.minimum(powers + 1, (1 << width) - 1)]
    sums = np.r_[sums, (1 << width) - 1, rng.integers(0, 1 << width, 60)]
    sums = np.r_[sums, rng.integers(0, 1 << width, 60) >> rng.integers(0, width, 60)]
    gaps = (rng.random(len(sums)) < 0.2) * rng.integers(1, 5, len(sums))
    tags = [int(tag) for tag in rng.integers(0, 16, len(sums))]
    dut = Reciprocal(sum_width=width, tag=TAG)
    sent, found = run(dut, sums, gaps=gaps.tolist(), tags=tags)
    check(sums, found)
    assert [item[0] for item in found] == [cycle + dut.latency for cycle in sent]
    assert [item[4] for item in found] == tags


def test_small_sums_exhaustively():
    sums = range(1 << 10)
    dut = Reciprocal(sum_width=10, tag=0)
    _, found = run(dut, sums, gaps=[0] * len(sums), tags=[None] * len(sums))
    check(sums, found)


def test_sums_that_divide_a_leading_part_exactly():
    aligned = np.arange(1 << 18, 1 << 19)
    sums = np.unique([x for n in range(19, 36) for x in aligned[((1 << n) - 1) % aligned == 0]])
    assert len(sums) > 5
    dut = Reciprocal(sum_width=19, tag=0)
    _, found = run(dut, sums, gaps=[0] * len(sums), tags=[None] * len(sums))
    check(sums, found)


def test_latency():
    assert Reciprocal(sum_width=8, tag=TAG).latency == 21
    assert Reciprocal(sum_width=33, tag=TAG).latency == 22


@pytest.mark.parametrize(
    ("width", "error", "message"),
    [
        (0, ValueError, "Sum width must be a positive integer, not 0"),
        (65, ValueError, "Sum width must be at most 64, not 65"),
        ("9", TypeError, "Sum width must be a positive integer, not '9'"),
    ],
)
def test_bad_width(width, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Reciprocal(sum_width=width, tag=TAG)


def test_it_converts():
    assert "module \\reciprocal" in emit(Reciprocal(sum_width=29, tag=TAG), name="reciprocal").rtlil
