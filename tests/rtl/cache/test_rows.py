"""A row that is written is read from the next cycle on, whichever bank it is in."""

import random

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.cache.rows import RowMemory, row_latency


def run(dut, writes, reads):
    """Write and read in each cycle; return what comes ``latency`` cycles after each address."""
    found = []

    async def drive(ctx):
        for cycle in range(len(reads) + dut.latency):
            if cycle >= dut.latency:
                found.append(ctx.get(dut.r_data))
            if cycle < len(reads):
                en, address, row = writes[cycle]
                ctx.set(dut.w_en, en)
                ctx.set(dut.w_addr, address)
                ctx.set(dut.w_data, row)
                ctx.set(dut.r_addr, reads[cycle])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize(("depth", "bank"), [(1, 8), (20, 32), (20, 8), (16, 8), (9, 1)])
def test_random_rows(depth, bank):
    rng = random.Random(depth)
    dut = RowMemory(width=12, depth=depth, bank=bank)
    assert dut.latency == row_latency(depth=depth, bank=bank) == (1 if depth <= bank else 3)
    # Often what was written in the cycle before.
    writes, reads, held, known = [], [], [0] * depth, []
    for _ in range(600):
        latest = [address for _, address, _ in writes[-1:]]
        reads.append(rng.choice([*latest, rng.randrange(depth)]))
        known.append(held[reads[-1]])
        writes.append((rng.randrange(2), rng.randrange(depth), rng.getrandbits(12)))
        en, address, row = writes[-1]
        if en:
            held[address] = row
    assert run(dut, writes, reads) == known


def test_errors():
    with pytest.raises(ValueError, match=r"^Bank must be a power of two, not 24$"):
        RowMemory(width=8, depth=100, bank=24)
    with pytest.raises(ValueError, match=r"^Memory must be one of 'auto', 'block', 'ultra', not "):
        RowMemory(width=8, depth=100, memory="fast")


def test_it_emits():
    emit(RowMemory(width=8, depth=100, bank=32, memory="ultra"), verilog=True)
