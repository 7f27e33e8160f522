"""Vectors written by number, in any order, and read in beats."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I8
from qkloom.rtl.index.beats import BeatMemory

SMALL = {"size": 2, "width": 4, "head_dim": 12, "vectors": 6, "element": I8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 3}, "Width must be a multiple of the size, 3, not 4"),
        ({"vectors": 0}, "Number of vectors must be a positive integer, not 0"),
        ({"head_dim": 6}, "Head dimension must be a multiple of the width, 4, not 6"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BeatMemory(**SMALL | changes)


@pytest.mark.parametrize("chunks", [1, 4, 5, 6])
def test_what_is_written_is_read(chunks):
    """Vectors of any length; what one lacks of its last beat is 0 whatever was there before."""
    assert emit(BeatMemory(**SMALL)).ports
    unit = BeatMemory(**SMALL)
    rng = np.random.default_rng(chunks)
    loads = [rng.integers(-128, 128, (6, 12)), rng.integers(-128, 128, (6, 2 * chunks))]
    beats = -(-chunks // 2)
    expected = np.zeros((6, 4 * beats), int)
    expected[:, : 2 * chunks] = loads[1]
    found = np.zeros_like(expected)

    async def write_and_read(ctx):
        for load in loads:
            for number in rng.permutation(6).tolist():
                rows = load[number].reshape(-1, 2)
                for k, row in enumerate(rows.tolist()):
                    ctx.set(unit.x, row)
                    ctx.set(unit.last, k == len(rows) - 1)
                    ctx.set(unit.w_vector, number)
                    ctx.set(unit.writes, 1)
                    assert ctx.get(unit.w_beat) == k // 2
                    await ctx.tick()
                ctx.set(unit.writes, 0)
                ctx.set(unit.x, [1, 1])
        await ctx.tick()
        for number in range(6):
            for beat in range(beats):
                ctx.set(unit.vector, number)
                ctx.set(unit.beat, beat)
                await ctx.tick()
                found[number, 4 * beat : 4 * beat + 4] = [ctx.get(unit.o[k]) for k in range(4)]

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(write_and_read)
    simulator.run()
    assert found.tolist() == expected.tolist()
