"""Query blocks pass by, or wait for their rows of the selection; a round is read ahead."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.selection import Selection
from qkloom.tb.simulate import from_bits, simulate, to_bits

from .test_select import answers, expected, random_entry, random_row, words_of

SHAPE = dict(n_lanes=3, slots=2, heads=4, tokens=600, head_dim=8, size=4, block=8, data_width=64)


def rounds_of(rng, n):
    """Return query blocks, lane by lane, with their rows."""
    cases = []
    for _ in range(n):
        for lane in range(3):
            given = random_entry(rng)
            given["entry"] |= {"lane": lane, "round_ends": int(lane == 2)}
            cases.append((given, random_row(rng)))
    return cases


def needed_of(cases):
    """Return the blocks that the rounds need."""
    found = []
    for first in range(0, len(cases), 3):
        plans = [expected(*case)[1] for case in cases[first : first + 3]]
        for block in range(75):
            lanes = sum(
                any(mark["needs"] for mark in marks if mark["block"] == block) << lane
                for lane, marks in enumerate(plans)
            )
            if lanes:
                found.append({"block": block, "first_key": 8 * block, "lanes": lanes})
    return found


def run(cases, sparse, cycles=60_000, memory=0.5, **pace):
    dut = Selection(**SHAPE)

    async def choose(ctx):
        ctx.set(dut.sparse, sparse)

    return dut, simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), given) for given, _ in cases]},
        outputs=["o", "needed"],
        watched=["request"],
        cycles=cycles,
        idle=400,
        pace=pace,
        beside=[choose, answers(dut, words_of(cases), memory)],
    )


@pytest.mark.parametrize("pace", [{}, {"o": 0.2}, {"needed": 0.1}, {"i": 0.3}])
def test_random_rounds(pace):
    cases = rounds_of(random.Random(1), 12)
    dut, logs = run(cases, 1, **pace)
    got = {
        name: [from_bits(getattr(dut, name).payload.shape(), bits) for bits in logs[name].items]
        for name in ("o", "needed")
    }
    assert got["o"] == [expected(*case)[2] for case in cases]
    assert got["needed"] == needed_of(cases)


def test_without_a_selection_they_pass():
    cases = rounds_of(random.Random(2), 4)
    dut, logs = run(cases, 0, o=0.5)
    assert [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items] == [
        given | {"hidden": 0} for given, _ in cases
    ]
    assert logs["o"].valid_cycles[0] == logs["i"].cycles[0] + 1
    assert not logs["request"].valid_cycles and not logs["needed"].valid_cycles


def test_reads_a_round_ahead():
    """Nobody takes blocks of the first round, and the second one is there in the end."""
    cases = rounds_of(random.Random(3), 4)
    _, logs = run(cases, 1, cycles=3000, needed=0)
    words = [expected(*case)[0] for case in cases]
    assert len(logs["request"].items) >= sum(map(len, words[:6]))
    assert len(logs["o"].items) == 6


def test_conversion():
    emit(Selection(**SHAPE, gemm=True), verilog=True)


def test_busy():
    """From a query block's coming in to the cycle behind its leaving."""
    cases = rounds_of(random.Random(4), 1)
    dut = Selection(**SHAPE)
    seen = []

    async def watch(ctx):
        ctx.set(dut.sparse, 1)
        ctx.set(dut.request.ready, 1)
        ctx.set(dut.word.valid, 1)
        signals = (dut.busy, dut.o.valid, dut.o.ready)
        async for _, _, busy, valid, ready in ctx.tick().sample(*signals):
            seen.append((busy, valid and ready))

    items = [to_bits(dut.i.payload.shape(), given) for given, _ in cases]
    logs = simulate(
        dut,
        inputs={"i": items},
        outputs=["o", "needed"],
        cycles=600,
        pace={"o": 0.1},
        beside=[watch],
    )
    last = logs["o"].cycles[-1]
    assert len(logs["o"].items) == 3
    assert [busy for busy, _ in seen[last : last + 3]] == [1, 1, 0]


@pytest.mark.parametrize("name", ["heads", "tokens", "block"])
def test_errors(name):
    message = rf"^{name.capitalize()} must be a positive integer, not 0$"
    with pytest.raises(ValueError, match=message):
        Selection(**{**SHAPE, name: 0})
