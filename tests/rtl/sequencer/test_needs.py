"""Marks of many rounds, lane by lane, come out as the blocks that each round needs."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.needs import Needs
from qkloom.tb.simulate import from_bits, simulate, to_bits

TOKENS, BLOCK = 100, 8  # 13 blocks


def random_rounds(rng, n, n_lanes):
    """Return rounds: of each lane the blocks that it may see, and those of them that it needs."""
    rounds = []
    for _ in range(n):
        lanes = rng.sample(range(n_lanes), rng.randint(1, n_lanes))
        share = rng.choice([0, 0.1, 0.5, 1])
        rounds.append(
            [
                (lane, [int(rng.random() < share) for _ in range(rng.choice([1, 2, 13]))])
                for lane in lanes
            ]
        )
    return rounds


def marks_of(rounds):
    """Return the marks of rounds; a lane that needs nothing gets block 0 in the end."""
    marks = []
    for lanes in rounds:
        for number, (lane, bits) in enumerate(lanes):
            marks += [
                {"lane": lane, "block": block, "needs": bit, "ends": 0}
                for block, bit in enumerate(bits)
            ]
            ends, needs = int(number == len(lanes) - 1), int(not any(bits))
            marks.append({"lane": lane, "block": 0, "needs": needs, "ends": ends})
    return marks


def needed_of(rounds):
    """Return the blocks that rounds need, in ascending order."""
    found = []
    for lanes in rounds:
        for block in range(13):
            mask = 0
            for lane, bits in lanes:
                wants = bits if any(bits) else [1]
                mask |= (block < len(wants) and wants[block]) << lane
            if mask:
                found.append({"block": block, "first_key": BLOCK * block, "lanes": mask})
    return found


@pytest.mark.parametrize("n_lanes", [1, 2, 5])
@pytest.mark.parametrize(("comes", "goes"), [(1, 1), (0.4, 1), (1, 0.2)])
def test_random_rounds(n_lanes, comes, goes):
    rounds = random_rounds(random.Random(n_lanes), 60, n_lanes)
    dut = Needs(n_lanes=n_lanes, tokens=TOKENS, block=BLOCK)
    logs = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), mark) for mark in marks_of(rounds)]},
        outputs=["o"],
        cycles=60_000,
        idle=200,
        pace={"i": comes, "o": goes},
    )
    got = [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items]
    assert got == needed_of(rounds)


def test_a_round_ahead():
    """Two rounds fit, and no mark of a third one; a mark takes a cycle."""
    rounds = [[(0, [1, 0, 1])], [(0, [0, 1])], [(0, [1])]]
    dut = Needs(n_lanes=2, tokens=TOKENS, block=BLOCK)
    marks = [to_bits(dut.i.payload.shape(), mark) for mark in marks_of(rounds)]
    logs = simulate(dut, inputs={"i": marks}, outputs=["o"], cycles=100, pace={"o": 0})
    assert logs["i"].cycles == list(range(4 + 3))
    assert logs["o"].valid_cycles


def test_latency():
    """Three cycles for a block that nobody needs, four for another one."""
    dut = Needs(n_lanes=1, tokens=TOKENS, block=BLOCK)
    marks = [to_bits(dut.i.payload.shape(), mark) for mark in marks_of([[(0, [1, 1, 0, 0, 1])]])]
    logs = simulate(dut, inputs={"i": marks}, outputs=["o"], cycles=100)
    first = logs["i"].cycles[-1] + 6
    assert logs["o"].cycles == [first, first + 4, first + 4 + 2 * 3 + 4]


def test_conversion():
    emit(Needs(n_lanes=12, tokens=131072, block=128), verilog=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_lanes": 0}, r"^Number of lanes must be a positive integer, not 0$"),
        ({"tokens": 0}, r"^Tokens must be a positive integer, not 0$"),
        ({"block": 0}, r"^Block must be a positive integer, not 0$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Needs(**{"n_lanes": 2, "tokens": TOKENS, "block": BLOCK, **changes})
