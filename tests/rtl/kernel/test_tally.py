"""A tally's total is the sum of all steps, in one piece."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.kernel.tally import Tally
from qkloom.tb.simulate import simulate


def run(most, steps):
    """Return the total after each step."""
    dut = Tally(most=most)
    totals = []

    async def drive(ctx):
        for step in steps:
            ctx.set(dut.step, step)
            _, _, total = await ctx.tick().sample(dut.total)
            totals.append(total)
        ctx.set(dut.step, 0)
        for _ in range(3):
            _, _, total = await ctx.tick().sample(dut.total)
            totals.append(total)

    simulate(dut, inputs={}, outputs=[], cycles=len(steps) + 5, beside=[drive])
    return totals


@pytest.mark.parametrize("most", [1, 5, 64])
def test_small_steps(most):
    rng = random.Random(most)
    steps = [rng.randint(0, most) for _ in range(200)]
    totals = run(most, steps)
    # Three registers behind.
    assert totals[3:] == [sum(steps[: k + 1]) for k in range(len(steps))]


def test_carry():
    """Over the end of the lower half, the total is never seen half way."""
    most = 1 << 30
    rng = random.Random(0)
    steps = [rng.choice([most, 1, 0, rng.randint(0, most)]) for _ in range(200)]
    totals = run(most, steps)
    assert totals[3:] == [sum(steps[: k + 1]) for k in range(len(steps))]
    assert totals[-1] >> 32 > 20


def test_conversion():
    emit(Tally(most=3), verilog=True)


def test_errors():
    with pytest.raises(ValueError, match=r"^Largest step must be a positive integer, not 0$"):
        Tally(most=0)
    with pytest.raises(ValueError, match=r"^Largest step must be at most 1073741824, not "):
        Tally(most=(1 << 30) + 1)
    with pytest.raises(TypeError, match=r"^Largest step must be a positive integer, not 1\.5$"):
        Tally(most=1.5)
