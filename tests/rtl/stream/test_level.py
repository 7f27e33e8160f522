"""A level counts, and its two answers are never late."""

from random import Random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from qkloom.rtl.stream.level import count_level


@pytest.mark.parametrize(("most", "init"), [(1, 0), (1, 1), (2, 2), (3, 0), (5, 2)])
def test_level(most, init):
    m = Module()
    comes, goes = Signal(), Signal()
    level = count_level(m, Signal(range(most + 1), init=init), most=most, comes=comes, goes=goes)
    rng = Random(most)

    async def drive(ctx):
        n = init
        for _ in range(300):
            assert ctx.get(level.n) == n
            assert ctx.get(level.has_some) == (n > 0)
            assert ctx.get(level.has_room) == (n < most)
            come, go = n < most and rng.random() < 0.6, n > 0 and rng.random() < 0.5
            if rng.random() < 0.1:  # one that comes and goes at once
                come = go = True
            ctx.set(comes, come)
            ctx.set(goes, go)
            n += come - go
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
