import random

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from qkloom.rtl.lane.rescale import RESCALE, RESCALED_SUM_STAGES, rescaled_sum


def rs(value, shift):
    return (((value << 1) >> shift) + 1) >> 1


@pytest.mark.parametrize("shape", [signed(43), unsigned(9)], ids=repr)
def test_every_amount_on_either_side(shape):
    m = Module()
    old, new = ([Signal(shape, name=f"{side}_{i}") for i in range(2)] for side in ("old", "new"))
    rescale, first, turn = Signal(RESCALE), Signal(), Signal()
    control = {"first": first, "turn": turn}
    total = rescaled_sum(m, old, new, rescale, **control, name="sum")
    low, high = (-1 << 41, 1 << 41) if shape.signed else (0, 1 << 8)
    rng = random.Random(shape.width)
    work = [
        ({"amount": amount, "of_new": of_new}, [rng.randrange(low, high) >> down for _ in range(4)])
        for amount in range(64)
        for of_new in (0, 1)
        for down in (0, 3, 40)
    ]
    ends = [low, high - 1, high - 1, low]
    work += [({"amount": 1, "of_new": of_new}, ends) for of_new in (0, 1)]
    work = [(*item, rng.getrandbits(1), int(rng.random() < 0.2)) for item in work]
    found = []

    async def drive(ctx):
        for cycle in range(len(work) + RESCALED_SUM_STAGES):
            if cycle >= RESCALED_SUM_STAGES:
                found.append(ctx.get(total))
            if cycle < len(work):
                by, values, which, is_first = work[cycle]
                ctx.set(rescale, by)
                ctx.set(turn, which)
                ctx.set(first, is_first)
                for signal, value in zip((*old, *new), values, strict=True):
                    ctx.set(signal, value)
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    expected = []
    for by, values, which, is_first in work:
        old_shift, new_shift = (0, by["amount"]) if by["of_new"] else (by["amount"], 0)
        a, b = values[which] * (not is_first), values[2 + which]
        expected.append(rs(a, old_shift) + rs(b, new_shift))
    assert found == expected
