"""What is to come of a block is what comes."""

from itertools import pairwise

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.cache.outlook import Outlook
from qkloom.tb.cache.control import describe_visits
from qkloom.tb.cache.outlook import uses_of_windows
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of
from qkloom.tb.simulate import from_bits, simulate, to_bits

BLOCKS, HEADS, JOBS, USES = 9, 3, 8, 60


def calls_of(rng, n):
    """Return visits of calls with one to three heads, few needs and many."""
    calls = []
    for _ in range(n):
        kv_heads, group = int(rng.integers(1, HEADS + 1)), int(rng.integers(1, 5))
        needs = rng.random((kv_heads * group, BLOCKS, BLOCKS)) < rng.choice([0.1, 0.4, 0.8])
        needs[::group, 0, 0] = True
        pairs = int(rng.integers(1, JOBS + 1))
        calls.append(visits_of(needs, kv_heads=kv_heads, pairs_per_window=pairs))
    return calls


def run(dut, given, again, rules, pace):
    """Return what is told; visits are those of ``again``."""

    async def constants(ctx):
        ctx.set(dut.threshold, rules.threshold)

    shape = dut.i.payload.shape()
    wrong = []

    async def watch(ctx):
        async for _, _, value in ctx.tick().sample(dut.wrong):
            wrong.append(value)

    log = simulate(
        dut,
        inputs={
            "i": [to_bits(shape, use) for use in given],
            "visits": [to_bits(shape, use) for use in again],
        },
        outputs=["o"],
        cycles=100_000,
        idle=200,
        pace=dict.fromkeys(("i", "visits", "o"), pace),
        beside=[constants, watch],
    )
    return [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items], wrong[-1], log


@pytest.mark.parametrize("pace", [1, 0.4])
@pytest.mark.parametrize("windows", [40, 33, 64, 5])
def test_tells_what_is_left_and_when_again(windows, pace):
    rules = CacheRules(cold=1, threshold=4)
    dut = Outlook(blocks=BLOCKS, heads=HEADS, windows=windows, jobs=JOBS, uses=USES)
    calls = calls_of(np.random.default_rng(windows), 5)
    uses = [use for visits in calls for use in uses_of_windows(visits, BLOCKS)]
    told = [
        one | {"head": 0}
        for visits in calls
        for one in describe_visits(visits, rules, blocks=BLOCKS, windows=windows)
    ]
    got, wrong, log = run(dut, uses, uses, rules, pace)
    assert [one | {"head": 0} for one in got] == told
    assert wrong == 0
    assert len(log["visits"].items) == len(uses)


def test_heads_are_told_apart():
    rules = CacheRules(cold=1)
    dut = Outlook(blocks=BLOCKS, heads=HEADS, windows=40, jobs=JOBS, uses=USES)
    calls = calls_of(np.random.default_rng(1), 4)
    uses = [use for visits in calls for use in uses_of_windows(visits, BLOCKS)]
    got, _, _ = run(dut, uses, uses, rules, 1)
    number, expected = 0, []
    for use in uses:
        if not use["ends"]:
            expected.append(number % 4)
        number += use["last"]
    assert [one["head"] for one in got] == expected


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize(("change", "bit"), [(1, 1), (-1, 2)])
def test_uses_that_do_not_come_are_told(change, bit, head):
    rules = CacheRules(cold=1)
    needs = np.random.default_rng(3).random((2, BLOCKS, BLOCKS)) < 0.5
    given = list(uses_of_windows(visits_of(needs, kv_heads=2, pairs_per_window=3), BLOCKS))
    begins = [0, next(k for k, use in enumerate(given) if use["last"]) + 1][head]
    first = next(k for k, use in enumerate(given) if k >= begins and use["jobs"] == 2)
    again = [*given]
    again[first] = given[first] | {"jobs": 2 + change}
    dut = Outlook(blocks=BLOCKS, heads=HEADS, windows=40, jobs=JOBS, uses=USES)
    assert run(dut, given, given, rules, 1)[1] == 0
    assert run(dut, given, again, rules, 1)[1] & bit


def test_cycles_of_uses_and_visits():
    """Three of a use, and of a block's first one two more for its words; five of a visit, one more
    when the next window is in another word.
    """
    needs = np.zeros((1, 40, BLOCKS), bool)
    needs[0, [0, 1, 39], :4] = True
    uses = list(uses_of_windows(visits_of(needs, kv_heads=1, pairs_per_window=1), BLOCKS))
    dut = Outlook(blocks=BLOCKS, heads=HEADS, windows=40, jobs=JOBS, uses=USES)
    _, _, log = run(dut, uses, uses, CacheRules(cold=1), 1)
    counted, told = ([b - a for a, b in pairwise(log[name].cycles)] for name in ("i", "visits"))
    assert counted[:3] == [3 + 2] * 3
    assert set(counted[3:]) == {3}
    assert told[:9] == [5, 5, 5, 3, 5 + 1, 5 + 1, 5 + 1, 5 + 1, 3]


def test_errors():
    with pytest.raises(ValueError, match=r"^Windows must be a positive integer, not 0$"):
        Outlook(blocks=4, heads=1, windows=0, jobs=1, uses=1)


def test_emits():
    dut = Outlook(blocks=BLOCKS, heads=HEADS, windows=40, jobs=JOBS, uses=USES)
    emit(dut, verilog=True)
