import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I4, I8
from qkloom.rtl.index.vectors import VectorMemory
from qkloom.tb.packing import pack
from qkloom.tb.stalls import Stall

SMALL = {"size": 2, "width": 4, "head_dim": 12, "vectors": 5, "element": I8}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 0}, ValueError, "Size must be a positive integer, not 0"),
        ({"size": 3}, ValueError, "Width must be a multiple of the size, 3, not 4"),
        (
            {"head_dim": 6},
            ValueError,
            "Head dimension must be a multiple of the width, 4, not 6",
        ),
        ({"vectors": 0}, ValueError, "Number of vectors must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        VectorMemory(**SMALL | changes)


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        {"size": 1, "width": 3, "head_dim": 9, "vectors": 4, "element": I4},
        {"size": 4, "width": 4, "head_dim": 8, "vectors": 3, "element": I8},
        {"size": 2, "width": 2, "head_dim": 2, "vectors": 1, "element": I8},
    ],
    ids=lambda sizes: "-".join(map(str, sizes.values())),
)
@pytest.mark.parametrize("pace", [1, 0.4])
def test_what_is_loaded_is_read(sizes, pace):
    unit = VectorMemory(**sizes)
    assert emit(unit).ports
    unit = VectorMemory(**sizes)
    rng = np.random.default_rng(1)
    size, width, element = sizes["size"], sizes["width"], sizes["element"]
    most = sizes["head_dim"] // size
    shapes = [(sizes["vectors"], most), (1, 1), (sizes["vectors"], 1), (1, most)]
    loads = [rng.integers(element.min_raw, element.max_raw + 1, (n, c * size)) for n, c in shapes]
    chunks = []
    for x in loads:
        rows = x.reshape(-1, size)
        per, at = x.shape[1] // size, np.arange(len(rows))
        chunks.append(
            pack(
                unit.i.payload.shape(),
                x=rows,
                last=at % per == per - 1,
                done=at == len(rows) - 1,
            )
        )
    bits = [
        sum(int(word) << 32 * k for k, word in enumerate(row)) for rows in chunks for row in rows
    ]
    found = []

    async def load_and_read(ctx):
        stall, cycle, sent = Stall(1 - pace, seed=1), 0, iter(bits)
        for x in loads:
            ctx.set(unit.loads, 1)
            done = False
            while not done:
                offers = not stall.at("i", cycle)
                ctx.set(unit.i.valid, offers)
                if offers:
                    ctx.set(unit.i.payload.as_value(), next(sent))
                done = ctx.get(unit.done)
                await ctx.tick()
                cycle += 1
            ctx.set(unit.loads, 0)
            ctx.set(unit.i.payload.as_value(), 0)
            assert not ctx.get(unit.i.ready)
            await ctx.tick()
            numbers = ctx.get(unit.vectors), ctx.get(unit.beats)
            rows = []
            for vector in range(len(x)):
                for beat in range(numbers[1]):
                    ctx.set(unit.vector, vector)
                    if sizes["width"] < sizes["head_dim"]:
                        ctx.set(unit.beat, beat)
                    await ctx.tick()
                    rows.append([ctx.get(unit.o[k]) for k in range(width)])
            found.append((numbers, np.array(rows).reshape(len(x), -1).tolist()))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(load_and_read)
    simulator.run()
    expected = []
    for x in loads:
        beats = -(-x.shape[1] // width)
        filled = np.zeros((len(x), beats * width), int)
        filled[:, : x.shape[1]] = x
        expected.append(((len(x), beats), filled.tolist()))
    assert found == expected
