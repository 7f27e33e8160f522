import re
from random import Random

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.histogram import Histogram


def run(dut, rounds, *, gap=0.0, seed=0):
    """Add the items of each round, then sweep; return per round (bin, count, mass, last)."""
    rng = Random(seed)
    found, told = [], []
    busy = []

    async def drive(ctx):
        i, o = dut.i, dut.o

        async def tick():
            _, _, valid, *told_now, is_busy = await ctx.tick().sample(
                o.valid, o.payload.bin, o.payload.count, o.payload.mass, o.payload.last, dut.busy
            )
            busy.append(is_busy)
            if valid:
                told.append(tuple(told_now))

        for items in rounds:
            while ctx.get(dut.busy):
                await tick()
            found.append(told.copy())
            told.clear()
            for at, mass in items:
                while rng.random() < gap:
                    ctx.set(i.valid, 0)
                    ctx.set(i.payload.bin, rng.getrandbits(dut.parameters["bin_bits"]))
                    await tick()
                ctx.set(i.valid, 1)
                ctx.set(i.payload, {"bin": at, "mass": mass})
                await tick()
            ctx.set(i.valid, 0)
            ctx.set(dut.sweep, 1)
            await tick()
            ctx.set(dut.sweep, 0)
        while ctx.get(dut.busy):
            await tick()
        found.append(told.copy())

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert not found[0]
    return found[1:], busy


def expected(items, *, bin_bits, count_width, mass_width):
    rows = []
    for at in reversed(range(1 << bin_bits)):
        masses = [mass for where, mass in items if where == at]
        count, mass = len(masses) % (1 << count_width), sum(masses) % (1 << mass_width)
        rows.append((at, count, mass, int(at == 0)))
    return rows


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("bins", [1, 2, 8])
@pytest.mark.parametrize("bin_bits", [1, 2, 5])
def test_sums(bin_bits, bins, gap):
    rng = Random(bins)
    sizes = {"bin_bits": bin_bits, "count_width": 5, "mass_width": 9}
    rounds = []
    for n in (0, 1, 2, 3, 25, 25, 40):
        # All in one bin, in two by turns, or anywhere.
        some = [rng.randrange(1 << bin_bits) for _ in range(bins)]
        rounds.append([(rng.choice(some), rng.getrandbits(7)) for _ in range(n)])
    found, busy = run(Histogram(**sizes), rounds, gap=gap)
    assert found == [expected(items, **sizes) for items in rounds]
    # A sweep, and the one after the reset.
    assert busy.count(1) == (len(rounds) + 1) * ((1 << bin_bits) + 1)


def test_the_ends_of_the_memory_right_before_and_after_a_sweep():
    sizes = {"bin_bits": 2, "count_width": 3, "mass_width": 4}
    rounds = [[(3, 1), (3, 2)], [(0, 3), (0, 4), (3, 5)], [(0, 6)], [(3, 7)]]
    found, _ = run(Histogram(**sizes), rounds)
    assert found == [expected(items, **sizes) for items in rounds]


def test_conversion():
    assert emit(Histogram(bin_bits=8, count_width=13, mass_width=32)).ports


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bin_bits": 0}, ValueError, "Bits of a bin must be a positive integer, not 0"),
        ({"bin_bits": 17}, ValueError, "Bits of a bin must be at most 16, not 17"),
        ({"count_width": "1"}, TypeError, "Count width must be a positive integer, not '1'"),
        ({"mass_width": 0}, ValueError, "Mass width must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Histogram(**{"bin_bits": 2, "count_width": 3, "mass_width": 4, **changes})
