"""Logarithms, bit for bit as the model, and near the real ones."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.log2 import Log2
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.tb.index.log2 import log2


def run(dut, numbers):
    found = []

    async def drive(ctx):
        for number in numbers + [0] * dut.latency:
            ctx.set(dut.i, number)
            found.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found[dut.latency :]


@pytest.mark.parametrize("width", [19, 26, 31])
def test_numbers_of_all_sizes(width):
    rng = np.random.default_rng(width)
    edges = [x + d for x in (1 << k for k in range(width)) for d in (-1, 0, 1)]
    numbers = [x for x in edges if x < 1 << width] + [(1 << width) - 1]
    numbers += (rng.integers(0, 1 << width, 500) >> rng.integers(0, width, 500)).tolist()
    assert run(Log2(width=width), numbers) == log2(np.array(numbers)).tolist()


def test_the_error_is_about_the_last_place():
    numbers = np.unique(np.geomspace(1, 2**31 - 1, 200_000).astype(np.int64))
    error = log2(numbers) / 2**IndexNumerics.log_fraction - np.log2(numbers)
    assert np.abs(error).max() < 1.1 * 2.0**-IndexNumerics.log_fraction


@pytest.mark.parametrize(
    ("width", "message"),
    [(18, "Width must be at least 19, not 18"), (32, "Width must be at most 31, not 32")],
)
def test_width_out_of_range(width, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Log2(width=width)


def test_it_converts():
    emit(Log2(width=26))
