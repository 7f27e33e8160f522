"""A count knows its last one, however many there are, and begins anew behind it."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from qkloom.rtl.lane.count import count_to


@pytest.mark.parametrize("pause", [0, 2])
def test_every_number(pause):
    m = Module()
    n, moves = Signal(3, init=1), Signal()
    count = count_to(m, n, moves=moves, name="row")
    found = []

    async def drive(ctx):
        for most in [*range(1, 8), 1, 1, 7, 2, 1]:
            ctx.set(n, most)
            for index in range(most):
                found.append((ctx.get(count.index), ctx.get(count.is_last)))
                assert found[-1] == (index, index == most - 1)
                for _ in range(pause):
                    await ctx.tick()
                ctx.set(moves, 1)
                await ctx.tick()
                ctx.set(moves, 0)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert len(found) == 28 + 12
