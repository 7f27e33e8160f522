"""Four items of each lane wait their turn; what is looked at comes in order."""

import re

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.mover.lane_queues import LaneQueues
from qkloom.tb.simulate import from_bits, simulate, to_bits


def run(sent, turns, *, n=3, pace=1.0, cycles=400):
    """Send (lane, item) pairs; look at lanes, each for so many cycles; return what each gave."""
    dut = LaneQueues(shape=8, n=n)
    got = {lane: [] for lane in range(n)}

    async def look(ctx):
        for lane, wait in turns:
            ctx.set(dut.lane, lane)
            ctx.set(dut.o.ready, 0)
            await ctx.tick()  # the answer is of the lane that was looked at a cycle before
            ctx.set(dut.o.ready, 1)
            for _ in range(wait):
                _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid:
                    got[lane].append(item)
        ctx.set(dut.o.ready, 0)

    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, {"to": to, "item": item}) for to, item in sent]},
        outputs=[],
        pace={"i": pace},
        cycles=cycles,
        beside=[look],
    )
    came = [from_bits(shape, bits) for bits in log["i"].items]
    return got, [(item["to"], item["item"]) for item in came]


@pytest.mark.parametrize("pace", [1.0, 0.2])
def test_lanes_keep_their_items_apart_and_in_order(pace):
    sent = [(number * 7 % 3, number) for number in range(24)]
    got, came = run(sent, [(k % 3, 11) for k in range(30)], pace=pace)
    assert came == sent
    assert got == {lane: [x for to, x in sent if to == lane] for lane in range(3)}


def test_each_lane_has_room_for_four():
    sent = [(1, number) for number in range(6)]
    _, came = run(sent, [(0, 200)])
    assert came == sent[:4]


def test_a_full_lane_does_not_lose_what_comes_later():
    sent = [(1, number) for number in range(9)]
    got, came = run(sent, [(0, 60), (1, 100)])
    assert came == sent
    assert got[1] == list(range(9))
    assert got[0] == []


def test_is_convertible():
    emit(LaneQueues(shape=8, n=1))


@pytest.mark.parametrize("n", [0, -1])
def test_bad_parameters(n):
    message = f"Number of lanes must be a positive integer, not {n}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LaneQueues(shape=8, n=n)
