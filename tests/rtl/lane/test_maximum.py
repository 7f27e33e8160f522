import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.maximum import RunningMaximum

LOWEST = -1 << 15
PARAMETERS = {"row_width": 2, "block_rows": 3, "slots": 2}


def run(dut, rows):
    """Send rows, each a list of chunks, when they say; return (cycle, tile, before) per row."""
    found = []

    async def drive(ctx):
        cycle = 0
        for start, slot, row, first, chunks in rows:
            ctx.set(dut.i.valid, 0)
            while cycle < start:
                await ctx.tick()
                cycle += 1
            for n, chunk in enumerate(chunks):
                place = {"slot": slot, "row": row, "first": first, "last": 0}
                place |= {"begin": n == 0, "end": n == len(chunks) - 1}
                ctx.set(dut.i.payload, {"x": chunk, "place": place})
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                cycle += 1
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.i.payload.x[0], 65535)
        await ctx.tick().repeat(dut.latency + 2)

    async def watch(ctx):
        o, cycle = dut.o.payload, 0
        async for _, _, valid, *result in ctx.tick().sample(dut.o.valid, o.tile, o.before):
            if valid:
                found.append((cycle, *result))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return found


@pytest.mark.parametrize("row_width", [1, 2, 3, 8])
@pytest.mark.parametrize("n_chunks", [1, 3])
def test_rows_of_all_slots_at_the_least_distance(row_width, n_chunks):
    dut = RunningMaximum(**(PARAMETERS | {"row_width": row_width}))
    rng = np.random.default_rng(row_width)
    state, rows, expected, cycle, last_end = {}, [], [], 0, {}
    for _ in range(150):
        slot, row = int(rng.integers(2)), int(rng.integers(3))
        first = (slot, row) not in state or rng.random() < 0.2
        scale = 1 << rng.integers(1, 17)
        chunks = rng.integers(-scale, scale, (n_chunks, row_width))
        chunks[rng.random(chunks.shape) < 0.3] = 2 * LOWEST
        chunks = np.minimum(chunks, 2 * ((1 << 15) - 1))
        cycle = max(cycle, last_end.get((slot, row), -99) + dut.feedback - n_chunks + 1)
        cycle += int(rng.random() < 0.1)
        before = LOWEST if first else state[slot, row]
        of_tile = -(-int(chunks.max()) >> 1)
        rows.append((cycle, slot, row, int(first), chunks.tolist()))
        cycle += n_chunks
        last_end[slot, row] = cycle - 1
        expected.append((cycle - 1 + dut.latency, of_tile, before))
        state[slot, row] = max(before, of_tile)
    assert run(dut, rows) == expected


@pytest.mark.parametrize(("row_width", "latency"), [(1, 3), (2, 4), (16, 7)])
def test_latency(row_width, latency):
    assert RunningMaximum(**(PARAMETERS | {"row_width": row_width})).latency == latency


@pytest.mark.parametrize("name", PARAMETERS)
def test_bad_parameters(name):
    words = name.replace("_", " ").capitalize()
    message = f"{words} must be a positive integer, not 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RunningMaximum(**(PARAMETERS | {name: 0}))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"^Slots must be a positive integer, not '2'$"):
        RunningMaximum(**(PARAMETERS | {"slots": "2"}))


def test_it_converts():
    assert "module \\top" in emit(RunningMaximum(**PARAMETERS), name="top").rtlil
