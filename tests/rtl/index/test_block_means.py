"""Means from sums: each count of tokens, and sums as large as there are."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.block_means import BlockMeans
from qkloom.tb.formats import round_shift

SMALL = {"size": 4, "head_dim": 12, "block": 8, "width": 8, "fraction": 4, "tag": 3}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"block": 1}, ValueError, "Block must be a power of two from 2 to 128, not 1"),
        ({"block": 24}, ValueError, "Block must be a power of two from 2 to 128, not 24"),
        ({"head_dim": 6}, ValueError, "Head dimension must be a multiple of the width, 4, not 6"),
        ({"width": 9}, ValueError, "Width must be at most 8, not 9"),
        ({"fraction": 0}, ValueError, "Fraction must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlockMeans(**SMALL | changes)


@pytest.mark.parametrize("changes", [{}, {"size": 3, "block": 16}, {"block": 2}], ids=str)
def test_means(changes):
    """Blocks one after the other, taken at once or not; the tag goes along."""
    parameters = SMALL | changes
    assert emit(BlockMeans(**parameters)).ports
    unit = BlockMeans(**parameters)
    size, block = parameters["size"], parameters["block"]
    rng = np.random.default_rng(block)
    blocks = []
    for number in range(3 * block):
        n, chunks = number % block + 1, int(rng.integers(1, parameters["head_dim"] // size + 1))
        sums = rng.integers(-128 * n, 127 * n + 1, (chunks, size))
        sums[0, :2] = -128 * n, 127 * n
        blocks.append((n, sums))
    found = []

    async def send(ctx):
        for number, (n, sums) in enumerate(blocks):
            ctx.set(unit.i.payload, {"tokens": n - 1, "chunk": len(sums) - 1, "tag": number % 8})
            ctx.set(unit.i.valid, 1)
            taken = False
            while not taken:
                ctx.set(unit.sums, sums[ctx.get(unit.chunk)].tolist())
                taken = ctx.get(unit.i.ready)
                await ctx.tick()
            ctx.set(unit.i.valid, 0)

    async def take(ctx):
        for number, (n, sums) in enumerate(blocks):
            scale = ((1 << 23) + n // 2) // n
            for k, mean in enumerate(round_shift(sums * scale, 19)):
                ready = False
                while not ready:
                    ready = bool(rng.random() < 0.3 + number % 2)
                    ctx.set(unit.o.ready, ready)
                    ready = ready and ctx.get(unit.o.valid)
                    o = unit.o.payload
                    x = [ctx.get(o.x[j]) for j in range(size)]
                    last, tag = ctx.get(o.last), ctx.get(o.tag)
                    await ctx.tick()
                found.append((x, last, tag) == (mean.tolist(), k == len(sums) - 1, number % 8))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(take)
    simulator.run_until(0.01)
    assert found == [True] * sum(len(sums) for _, sums in blocks)
