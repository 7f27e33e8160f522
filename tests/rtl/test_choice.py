import random
import re

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.choice import Choice


@pytest.mark.parametrize(("width", "n"), [(1, 1), (5, 2), (3, 3), (7, 4), (2, 9)])
def test_every_word(width, n):
    dut = Choice(width=width, n=n)
    rng = random.Random(n)

    async def drive(ctx):
        for _ in range(20):
            words = [rng.randrange(1 << width) for _ in range(n)]
            ctx.set(dut.i, sum(word << k * width for k, word in enumerate(words)))
            for number, word in enumerate(words):
                ctx.set(dut.select, number)
                await ctx.delay(1e-9)
                assert ctx.get(dut.o) == word

    simulator = Simulator(dut)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "Width must be a positive integer, not 0"),
        ({"n": -1}, "Number of words must be a positive integer, not -1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Choice(**{"width": 4, "n": 4} | change)


def test_it_emits():
    assert {port.name for port in emit(Choice(width=4, n=4)).ports} == {"i", "select", "o"}
