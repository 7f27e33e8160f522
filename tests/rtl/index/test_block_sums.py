import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.block_sums import BlockSums
from qkloom.tb.index.block_sums import add_chunks

SMALL = {"size": 2, "places": 6, "width": 8, "tokens": 8}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 0}, ValueError, "Size must be a positive integer, not 0"),
        ({"places": 0}, ValueError, "Number of places must be a positive integer, not 0"),
        ({"width": None}, TypeError, "Width must be a positive integer, not None"),
        ({"tokens": 0}, ValueError, "Tokens must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlockSums(**SMALL | changes)


@pytest.mark.parametrize(
    "sizes", [SMALL, {"size": 1, "places": 1, "width": 4, "tokens": 128}], ids=str
)
@pytest.mark.parametrize("gap", [0, 0.5])
def test_sums(sizes, gap):
    """The lowest numbers, too, as often as there may be; a place may come again at once."""
    assert emit(BlockSums(**sizes)).ports
    unit = BlockSums(**sizes)
    rng = np.random.default_rng(1)
    size, places = sizes["size"], sizes["places"]
    low = -(1 << sizes["width"] - 1)
    chunks, found, expected = [], [], []

    async def drive(ctx):
        for _ in range(20):
            place = int(rng.integers(places))
            for n in range(int(rng.choice([1, 2, sizes["tokens"]]))):
                row = rng.integers(low, -low, size) if rng.random() < 0.5 else np.full(size, low)
                while rng.random() < gap:
                    ctx.set(unit.adds, 0)
                    ctx.set(unit.begins, 1)
                    await ctx.tick()
                chunks.append((place, n == 0, row))
                ctx.set(unit.adds, 1)
                ctx.set(unit.begins, n == 0)
                ctx.set(unit.w_place, place)
                ctx.set(unit.row, row.tolist())
                await ctx.tick()
            ctx.set(unit.adds, 0)
            await ctx.tick()
            ctx.set(unit.r_place, place)
            found.append([ctx.get(unit.o[k]) for k in range(size)])
            expected.append(add_chunks(chunks, size=size, places=places)[place].tolist())

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert found == expected
