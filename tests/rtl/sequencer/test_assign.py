"""Lanes get the query blocks of a window as the schedule says."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.assign import Assigner
from qkloom.tb.deal import longest_first
from qkloom.tb.simulate import from_bits, simulate, to_bits


def assigner(*, n_lanes=3, slots=4, per_lane=2):
    return Assigner(
        shape=16, n_lanes=n_lanes, slots=slots, per_lane=per_lane, jobs=20, total=10_000
    )


def windows_of(rng, n, most):
    """Return the jobs of the items of some windows; many are equal."""
    return [
        [rng.choice([1, 2, rng.randint(1, 20)]) for _ in range(rng.randint(1, most))]
        for _ in range(n)
    ]


def expected(windows, *, n_lanes, slots, per_lane):
    load, given = [0] * n_lanes, [0] * n_lanes
    number, out = 0, []
    for jobs in windows:
        for k, lane in enumerate(longest_first(jobs, load, per_lane)):
            ends = int(k == len(jobs) - 1)
            out.append({"item": number, "lane": lane, "slot": given[lane] % slots, "ends": ends})
            given[lane] += 1
            number += 1
    return out


@pytest.mark.parametrize("pace", [1, 0.4])
@pytest.mark.parametrize(
    ("n_lanes", "slots", "per_lane"), [(1, 1, 1), (1, 3, 2), (3, 4, 2), (4, 2, 2), (5, 3, 1)]
)
def test_longest_first(n_lanes, slots, per_lane, pace):
    shape = {"n_lanes": n_lanes, "slots": slots, "per_lane": per_lane}
    windows = windows_of(random.Random(n_lanes), 20, n_lanes * per_lane)
    dut = assigner(**shape)
    layout = dut.i.payload.shape()
    items = [(jobs, k == len(of) - 1) for of in windows for k, jobs in enumerate(of)]
    sent = [
        to_bits(layout, {"item": number, "jobs": jobs, "ends": ends})
        for number, (jobs, ends) in enumerate(items)
    ]
    paces = {"i": pace, "o": pace}
    log = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=50_000, idle=300, pace=paces)
    got = [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items]
    assert got == expected(windows, **shape)


def test_a_call_forgets_the_one_before():
    dut = assigner(n_lanes=2, slots=2, per_lane=1)
    layout = dut.i.payload.shape()
    sent = [to_bits(layout, {"item": k, "jobs": 5, "ends": 1}) for k in range(2)]

    async def forget(ctx):
        await ctx.tick().until(dut.o.valid & dut.o.ready)
        await ctx.tick()
        ctx.set(dut.forget, 1)
        await ctx.tick()
        ctx.set(dut.forget, 0)

    pace = {"i": lambda cycle: cycle < 1 or cycle > 60}
    for beside, lane in (([], 1), ([forget], 0)):
        log = simulate(
            dut, inputs={"i": sent}, outputs=["o"], cycles=400, idle=80, pace=pace, beside=beside
        )
        got = [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items]
        assert [one["lane"] for one in got] == [0, lane]


def test_errors():
    with pytest.raises(ValueError, match=r"^Per lane must be at most 2, not 3$"):
        assigner(slots=2, per_lane=3)


def test_emits():
    emit(assigner(), verilog=True)
