import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.total import RunningSum
from qkloom.tb.formats import round_shift

PARAMETERS = {"row_width": 2, "p_width": 8, "sum_width": 14, "block_rows": 3, "slots": 2}


def run(dut, rows):
    """Send rows, each a list of chunks, when they say; return (cycle, slot, row, sum) each."""
    found = []

    async def drive(ctx):
        cycle = 0
        for start, rescale, place, chunks in rows:
            ctx.set(dut.i.valid, 0)
            while cycle < start:
                await ctx.tick()
                cycle += 1
            for n, chunk in enumerate(chunks):
                ends = {"begin": n == 0, "end": n == len(chunks) - 1}
                ctx.set(dut.i.payload, {"p": chunk, "rescale": rescale, "place": place | ends})
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                cycle += 1
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(dut.latency + 2)

    async def watch(ctx):
        o, cycle = dut.o.payload, 0
        fields = (dut.o.valid, o.tag.slot, o.tag.row, o.l)
        async for _, _, valid, *result in ctx.tick().sample(*fields):
            if valid:
                found.append((cycle, *result))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return found


@pytest.mark.parametrize("row_width", [1, 2, 3, 20])
@pytest.mark.parametrize("n_chunks", [1, 3])
def test_rows_of_all_slots_at_the_least_distance(row_width, n_chunks):
    dut = RunningSum(**(PARAMETERS | {"row_width": row_width}))
    rng = np.random.default_rng(row_width)
    state, rows, expected, cycle, last_end = {}, [], [], 0, {}
    for _ in range(150):
        slot, row = int(rng.integers(2)), int(rng.integers(3))
        so_far = state.get((slot, row), 0)
        first = (slot, row) not in state or rng.random() < 0.1 or so_far > 1 << 12
        last = rng.random() < 0.7
        chunks = rng.choice([0, 255, *rng.integers(0, 256, 4)], (n_chunks, row_width))
        rescale = int(rng.choice([0, 0, 1, 2, 3, 12, 13, 14, 63]))
        cycle = max(cycle, last_end.get((slot, row), -99) + dut.feedback - n_chunks + 1)
        cycle += int(rng.random() < 0.1)
        total = int(chunks.sum()) + (0 if first else int(round_shift(so_far, rescale)))
        place = {"slot": slot, "row": row, "first": int(first), "last": int(last)}
        rows.append((cycle, rescale, place, chunks.tolist()))
        cycle += n_chunks
        last_end[slot, row] = cycle - 1
        if last:
            expected.append((cycle - 1 + dut.latency, slot, row, total % (1 << 14)))
        state[slot, row] = total % (1 << 14)
    assert run(dut, rows) == expected


@pytest.mark.parametrize(("row_width", "latency"), [(1, 6), (16, 6), (17, 7)])
def test_latency(row_width, latency):
    assert RunningSum(**(PARAMETERS | {"row_width": row_width})).latency == latency


@pytest.mark.parametrize("name", PARAMETERS)
def test_bad_parameters(name):
    words = name.replace("_", " ").capitalize()
    message = f"{words} must be a positive integer, not 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RunningSum(**(PARAMETERS | {name: 0}))


def test_sum_narrower_than_a_probability():
    message = "Sum width must be at least P width 8, not 7"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RunningSum(**(PARAMETERS | {"sum_width": 7}))


def test_it_converts():
    assert "module \\top" in emit(RunningSum(**PARAMETERS), name="top").rtlil
