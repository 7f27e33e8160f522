"""A tally's total is the sum of all steps, in one piece."""

import random

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.kernel.tally import Tally
from qkloom.tb.formal import prove, witness
from qkloom.tb.simulate import simulate

MOST = 1 << 30


class TallyClaims(Component):
    """The total is the sum of 64 bits, three cycles behind: simulations see few of its bits."""

    def __init__(self):
        self.peek = {name: f"dut.{name}" for name in ("low", "high", "lower")}
        inner = dict.fromkeys(self.peek, In(32))
        super().__init__({"step": In(range(MOST + 1)), **inner, "carries": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Tally(most=MOST)
        steps = [Signal.like(self.step, name=f"step_{k}") for k in range(2)]
        sums = [Signal(64, name=f"sum_{k}") for k in range(2)]
        m.d.comb += [
            dut.step.eq(self.step),
            Assume(self.step <= MOST),
            Assert(steps[0] <= MOST),
            Assert(steps[1] <= MOST),
            Assert(sums[0] == (sums[1] + steps[1])[:64]),
            Assert(self.low == sums[0][:32]),
            Assert(dut.total == sums[1]),
            self.carries.eq(dut.total[32:] != 0),
        ]
        m.d.sync += [
            steps[0].eq(self.step),
            steps[1].eq(steps[0]),
            sums[0].eq(sums[0] + steps[0]),
            sums[1].eq(sums[0]),
        ]
        return m


def test_proof(require):
    require("yosys")
    claims = TallyClaims()
    design = emit(claims, name="claims")
    prove(design, depth=3, peek=claims.peek)
    assert witness(design, "carries", depth=9) == 7


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
