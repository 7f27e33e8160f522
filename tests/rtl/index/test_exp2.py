"""Powers from a table, bit for bit as the model."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.exp2 import Exp2Table
from qkloom.tb.index.exp2 import exp2


@pytest.mark.parametrize(("fraction", "exp_fraction"), [(10, 28), (6, 30), (12, 8)])
def test_every_distance(fraction, exp_fraction):
    dut = Exp2Table(fraction=fraction, exp_fraction=exp_fraction)
    rng = np.random.default_rng(fraction)
    top = (1 << len(dut.i)) - 1
    near = rng.integers(0, 34 << fraction, 400).tolist()
    distances = [0, 1, (31 << fraction) - 1, 31 << fraction, 32 << fraction, top, *near]
    found = []

    async def drive(ctx):
        for y in distances + [0] * dut.latency:
            ctx.set(dut.i, y)
            found.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    expected = exp2(np.array(distances), fraction=fraction, exp_fraction=exp_fraction)
    assert found[dut.latency :] == expected.tolist()
    true = 2.0 ** (exp_fraction - np.array(distances) / 2**fraction)
    assert np.abs(expected - true).max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 13}, "Fraction must be at most 12, not 13"),
        ({"exp_fraction": 31}, "Exp fraction must be at most 30, not 31"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Exp2Table(**({"fraction": 10, "exp_fraction": 28} | changes))


def test_it_converts():
    emit(Exp2Table(fraction=10, exp_fraction=28))
