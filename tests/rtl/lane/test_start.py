"""No step starts before its scores are complete, and none is lost while another waits."""

import random

import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.lane.start import StepStart
from qkloom.tb.simulate import simulate, to_bits

ROW = data.StructLayout({"number": 8})
STEP = data.StructLayout({"number": 8, "gemm": 1})


def run(steps, *, gemm, pace):
    dut = StepStart(shape=STEP, row_shape=ROW, gemm=gemm)
    rng = random.Random(1)
    completed = []  # cycle of each
    outputs = ["o", "sums"] if gemm else ["o"]

    async def complete(ctx):
        waiting = cycle = 0
        async for _, _, comes, taken in ctx.tick().sample(dut.i.valid, dut.i.ready):
            cycle += 1
            ctx.set(dut.complete, 0)
            waiting += comes and taken
            if waiting and rng.random() < 0.3:
                waiting -= 1
                completed.append(cycle)
                ctx.set(dut.complete, 1)

    logs = simulate(
        dut,
        inputs={"i": [to_bits(STEP, step) for step in steps]},
        outputs=outputs,
        pace=dict.fromkeys(outputs, pace),
        cycles=4000,
        beside=[complete],
    )
    return logs, completed


@pytest.mark.parametrize("pace", [1.0, 0.05])
def test_products_and_attention(pace):
    steps = [{"number": k, "gemm": k // 8 % 2} for k in range(60)]
    logs, completed = run(steps, gemm=True, pace=pace)
    products = [step for step in steps if step["gemm"]]
    assert logs["sums"].items == [to_bits(STEP, step) for step in products]
    assert logs["o"].items == [step["number"] for step in steps if not step["gemm"]]
    starts = {
        bits & 255: cycle
        for log in (logs["o"], logs["sums"])
        for bits, cycle in zip(log.items, log.cycles, strict=True)
    }
    assert all(starts[k] >= cycle for k, cycle in enumerate(completed))


@pytest.mark.parametrize("pace", [1.0, 0.1])
def test_attention_alone(pace):
    steps = [{"number": k, "gemm": 0} for k in range(40)]
    logs, completed = run(steps, gemm=False, pace=pace)
    assert logs["o"].items == list(range(40))
    assert all(start >= cycle for start, cycle in zip(logs["o"].cycles, completed, strict=True))


def test_emits():
    emit(StepStart(shape=STEP, row_shape=ROW, gemm=True), verilog=True)
