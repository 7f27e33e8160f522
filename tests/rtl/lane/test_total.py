import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.lane.total import RunningSum
from qkloom.tb.formats import round_shift

PARAMETERS = {"row_width": 2, "p_width": 8, "sum_width": 19, "block_rows": 3, "slots": 2}


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


def bring_together(old, of_row, *, amount, of_new):
    """Return the sum of both sides, one of them shifted."""
    new = of_row << Numerics.acc_guard
    return int(round_shift(old, 0 if of_new else amount) + round_shift(new, of_new * amount))


@pytest.mark.parametrize("row_width", [1, 2, 3, 20])
@pytest.mark.parametrize("n_chunks", [1, 3])
def test_rows_of_all_slots_at_the_least_distance(row_width, n_chunks):
    dut = RunningSum(**(PARAMETERS | {"row_width": row_width}))
    rng = np.random.default_rng(row_width)
    state, rows, expected, cycle, last_end = {}, [], [], 0, {}
    for _ in range(150):
        slot, row = int(rng.integers(2)), int(rng.integers(3))
        so_far = state.get((slot, row), 0)
        first = (slot, row) not in state or rng.random() < 0.1 or so_far > 1 << 16
        last = rng.random() < 0.7
        chunks = rng.choice([0, 255, *rng.integers(0, 256, 4)], (n_chunks, row_width))
        amount = int(rng.choice([0, 0, 1, 2, 3, *rng.integers(0, 64, 4)]))
        of_new = int(rng.integers(2))
        cycle = max(cycle, last_end.get((slot, row), -99) + dut.feedback - n_chunks + 1)
        cycle += int(rng.random() < 0.1)
        rescale = {"amount": amount, "of_new": of_new}
        total = bring_together(0 if first else so_far, int(chunks.sum()), **rescale)
        place = {"slot": slot, "row": row, "first": int(first), "last": int(last)}
        rows.append((cycle, rescale, place, chunks.tolist()))
        cycle += n_chunks
        last_end[slot, row] = cycle - 1
        if last:
            expected.append((cycle - 1 + dut.latency, slot, row, total))
        state[slot, row] = total
    assert run(dut, rows) == expected


@pytest.mark.parametrize("of_new", [0, 1])
def test_every_amount_on_either_side(of_new):
    dut = RunningSum(**PARAMETERS)
    rows, expected = [], []
    for n, amount in enumerate(range(64)):
        old, new = [255, 3 * n], [251 - 3 * n, 254]
        place = {"slot": 0, "row": n % 3, "last": 1}
        rescale = {"amount": amount, "of_new": of_new}
        start = n * (dut.feedback + 1)
        rows.append((start, rescale, place | {"first": 1}, [old]))
        rows.append((start + dut.feedback, rescale, place | {"first": 0}, [new]))
        before = bring_together(0, sum(old), **rescale)
        expected += [before, bring_together(before, sum(new), **rescale)]
    assert [total for *_, total in run(dut, rows)] == expected


@pytest.mark.parametrize(("row_width", "latency"), [(1, 5), (16, 9), (17, 10)])
def test_latency(row_width, latency):
    assert RunningSum(**(PARAMETERS | {"row_width": row_width})).latency == latency


@pytest.mark.parametrize("name", PARAMETERS)
def test_bad_parameters(name):
    words = name.replace("_", " ").capitalize()
    message = f"{words} must be a positive integer, not 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RunningSum(**(PARAMETERS | {name: 0}))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"^Slots must be a positive integer, not True$"):
        RunningSum(**(PARAMETERS | {"slots": True}))


def test_sum_narrower_than_a_probability():
    message = "Sum width must be at least 12, not 11"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RunningSum(**(PARAMETERS | {"sum_width": 11}))


def test_it_converts():
    assert "module \\top" in emit(RunningSum(**PARAMETERS), name="top").rtlil
