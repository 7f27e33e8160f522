import random

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from qkloom.rtl.lane.pipeline import delayed, shift_right, shift_stages, tree, tree_stages


def run(m, inputs, output, latency, words):
    """Drive ``inputs`` with a word a cycle; return the outputs that belong to them."""
    found = []

    async def drive(ctx):
        for cycle in range(len(words) + latency):
            if cycle < len(words):
                for signal, value in zip(inputs, words[cycle], strict=True):
                    ctx.set(signal, value)
            if cycle >= latency:
                found.append([ctx.get(value) for value in output])
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize("amount_width", range(1, 7))
def test_shift_right_signed_and_unsigned(amount_width):
    m = Module()
    a, b, amount = Signal(signed(12)), Signal(9), Signal(amount_width)
    shifted = shift_right(m, [a, b], amount, name="shifted")
    outputs = [Signal(signed(12)), Signal(9)]
    m.d.comb += [o.eq(value) for o, value in zip(outputs, shifted, strict=True)]
    rng = random.Random(amount_width)
    words = [
        (rng.randrange(-2048, 2048), rng.randrange(512), shift)
        for shift in range(1 << amount_width)
        for _ in range(4)
    ]
    found = run(m, (a, b, amount), outputs, shift_stages(amount_width), words)
    assert found == [[x >> shift, y >> shift] for x, y, shift in words]


@pytest.mark.parametrize("keep", [1, 5, 8, 19])
def test_shift_right_saturates_at_what_it_keeps(keep):
    m = Module()
    a, b, amount = Signal(20), Signal(signed(20)), Signal(5)
    outputs = shift_right(m, [a, b], amount, name="shifted", keep=keep)
    assert [len(output) for output in outputs] == [keep, keep]
    rng = random.Random(keep)
    words = [
        (rng.randrange(1 << 20) >> low, rng.randrange(-1 << 19, 1 << 19) >> low, shift)
        for shift in range(32)
        for low in (0, 0, 0, 5, 10, 15)
    ]
    half = 1 << keep - 1
    expected = [
        [min(x >> shift, 2 * half - 1), min(max(y >> shift, -half), half - 1)]
        for x, y, shift in words
    ]
    assert run(m, (a, b, amount), outputs, shift_stages(5), words) == expected


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_tree_sums_any_number(n):
    m = Module()
    inputs = [Signal(4, name=f"x_{i}") for i in range(n)]
    total, result = tree(m, inputs, lambda a, b: a + b, name="total"), Signal(8)
    m.d.comb += result.eq(total)
    m.d.sync += Signal().eq(0)  # one value needs no register, but the simulator wants its clock
    words = [[random.Random(n * t).randrange(16) for _ in inputs] for t in range(20)]
    assert run(m, inputs, [result], tree_stages(n), words) == [[sum(word)] for word in words]


@pytest.mark.parametrize("cycles", [0, 1, 5])
def test_delayed(cycles):
    m = Module()
    a, result = Signal(signed(5)), Signal(signed(5))
    m.d.comb += result.eq(delayed(m, a, cycles, name="line"))
    m.d.sync += Signal().eq(0)
    words = [(t - 10,) for t in range(20)]
    assert run(m, [a], [result], cycles, words) == [[t] for (t,) in words]
