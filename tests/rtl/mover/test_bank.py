"""What was read stays until it is taken, whatever is written meanwhile."""

import random

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.mover.bank import Bank


@pytest.mark.parametrize("pace", [1.0, 0.4])
def test_reads_in_order(pace):
    rng = random.Random(pace)
    dut = Bank(width=12, depth=8)
    stored = [0] * 8
    expected, got = [], []

    async def bench(ctx):
        for _ in range(400):
            write, address, data = rng.random() < 0.5, rng.randrange(8), rng.getrandbits(12)
            source = rng.choice([a for a in range(8) if a != address])
            for signal, value in (
                (dut.w_en, write),
                (dut.w_addr, address),
                (dut.w_data, data),
                (dut.asks, rng.random() < 0.7),
                (dut.taken, rng.random() < pace),
                (dut.r_addr, source),
            ):
                ctx.set(signal, value)
            if ctx.get(dut.fetched) and ctx.get(dut.taken):
                got.append(ctx.get(dut.r_data))
            if ctx.get(dut.reads):
                expected.append(stored[source])
            await ctx.tick()
            if write:
                stored[address] = data

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(got) > 50
    assert got == expected[: len(got)]
    assert len(expected) - len(got) <= 1


def test_emits():
    emit(Bank(width=4, depth=1), verilog=True)


def test_errors():
    with pytest.raises(ValueError, match=r"^Depth must be a positive integer, not 0$"):
        Bank(width=4, depth=0)
