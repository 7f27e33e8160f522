"""The control decides as its exact model does, whenever visits are served."""

import random
from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.cache.control import CacheControl
from qkloom.rtl.cache.visit import BYPASSES
from qkloom.tb.cache.control import decide, describe_visits
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of

BLOCKS, HEADS, WINDOWS = 9, 3, 20

RULES = [
    CacheRules("next-use", cold=1, lookahead=1),
    CacheRules("next-use", cold=3, lookahead=1),
    CacheRules("next-use", cold=4, lookahead=3),
    CacheRules("next-use", hot=2, cold=3, threshold=3, lookahead=2),
    CacheRules("next-use", hot=3, threshold=2, lookahead=6),
    CacheRules("liveness", cold=3, lookahead=2),
    CacheRules("liveness", hot=3, cold=2, threshold=3, lookahead=2),
    CacheRules("liveness", hot=2, threshold=2, lookahead=1),
    CacheRules("lru", cold=4, lookahead=1),
    CacheRules("lru", hot=2, cold=2, threshold=3, lookahead=5),
    CacheRules("none", lookahead=3),
    CacheRules("next-use", cold=1, lookahead=6),
]


def control(rules):
    return CacheControl(
        policy=rules.policy,
        hot=rules.hot,
        cold=rules.cold,
        blocks=BLOCKS,
        heads=HEADS,
        windows=WINDOWS,
        lookahead=rules.lookahead,
    )


def calls_of(rng, n):
    """Return visits of calls with one to three heads, few needs and many."""
    calls = []
    for _ in range(n):
        kv_heads, group = int(rng.integers(1, HEADS + 1)), int(rng.integers(1, 3))
        rows = int(rng.integers(1, BLOCKS + 1))
        needs = rng.random((kv_heads * group, rows, BLOCKS)) < rng.choice([0.15, 0.4, 0.8])
        needs[0, 0, 0] = True
        pairs = int(rng.integers(1, 7))
        calls.append(visits_of(needs, kv_heads=kv_heads, pairs_per_window=pairs))
    return [visits for visits in calls if visits.window[-1] < WINDOWS]


def run(rules, calls, *, seed, slow):
    """Return decisions (slot, fetch, head, block) of each call, and what was told of them."""
    dut = control(rules)
    rng = random.Random(seed)
    found, events = [], []

    async def host(ctx):
        for visits in calls:
            given = deque(describe_visits(visits, rules, blocks=BLOCKS, windows=WINDOWS))
            waiting = deque()  # of visits that are not served, whether they are kept nowhere
            mine = []
            while len(mine) < len(visits) or not ctx.get(dut.idle):
                ctx.set(dut.i.valid, bool(given))
                if given:
                    ctx.set(dut.i.payload, given[0])
                ctx.set(dut.ends, not given)
                ctx.set(dut.o.ready, rng.random() < (0.3 if slow else 1))
                assert sum(waiting) <= BYPASSES
                serves = bool(waiting) and rng.random() < (0.1 if slow else 1)
                ctx.set(dut.served, serves)
                if serves:
                    waiting.popleft()
                samples = (dut.i.ready, dut.o.valid, dut.o.ready, dut.o.payload, dut.events)
                _, _, taken, valid, ready, answer, event = await ctx.tick().sample(*samples)
                if taken and given:
                    given.popleft()
                if valid and ready:
                    waiting.append(answer.slot >= rules.slots)
                    mine.append((answer.slot, answer.fetch, answer.head, answer.block))
                if event.hit or event.fill or event.bypass:
                    events.append((event.hit, event.fill, event.evict, event.bypass))
            found.append(mine)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.run()
    return found, events


def expected(rules, calls):
    """Return the same of the exact model; blocks that are kept nowhere take turns."""
    found, events = [], []
    n_bypassed = 0
    for visits in calls:
        mine = []
        for decision, block in zip(decide(visits, rules), visits.block.tolist(), strict=True):
            slot, tier = decision.slot, 0
            if slot is None:
                slot = rules.slots + n_bypassed % BYPASSES
                n_bypassed += 1
            else:
                tier = 2 if slot < rules.hot else 1
            mine.append((slot, int(not decision.hit), block // BLOCKS, block % BLOCKS))
            fills, evicts = not decision.hit, decision.victim is not None
            is_bypass = int(decision.slot is None)
            events.append((tier * decision.hit, tier * fills, tier * evicts, is_bypass))
        found.append(mine)
    return found, events


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("rules", RULES, ids=lambda r: f"{r.policy}-{r.hot}-{r.cold}-{r.lookahead}")
def test_decides_as_the_model(rules, slow):
    calls = calls_of(np.random.default_rng(rules.slots + slow), 3 if slow else 6)
    assert run(rules, calls, seed=1, slow=slow) == expected(rules, calls)


def test_blocks_that_come_again_far_ahead_go_first():
    """One that comes again in window 17 goes before those of the windows 3, 5 and 7."""
    rules = CacheRules("next-use", cold=2, lookahead=1)
    needs = np.zeros((1, 18, BLOCKS), bool)
    needs[0, 0, :4] = True
    needs[0, [17, 3, 5, 7], range(4)] = True
    needs[0, :, 8] = True
    calls = [visits_of(needs, kv_heads=1, pairs_per_window=1)]
    assert run(rules, calls, seed=1, slow=False) == expected(rules, calls)


def test_a_visit_waits_until_an_older_one_is_served():
    """With all granted visits under way nobody is decided about."""
    rules = CacheRules("next-use", cold=4, lookahead=3)
    dut = control(rules)
    n = 0

    async def host(ctx):
        nonlocal n
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(300):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            n += valid

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.run()
    assert n == 3


@pytest.mark.parametrize("slots", [4, 64])
def test_a_visit_takes_four_cycles_a_level_and_five_more(slots):
    """Of hits: one visit is retired, and the next one is granted."""
    rules = CacheRules("next-use", cold=slots, lookahead=2)
    dut = control(rules)
    taken = []

    async def host(ctx):
        ctx.set(dut.o.ready, 1)
        serves = cycle = 0
        while len(taken) < 12:
            visit = {"head": 0, "block": len(taken) % 3, "next": 1, "dead": 0, "hot": 0}
            ctx.set(dut.i.payload, visit)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.served, serves)
            _, _, takes, serves = await ctx.tick().sample(dut.i.ready, dut.o.valid)
            cycle += 1
            if takes:
                taken.append(cycle)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.run()
    levels = slots.bit_length() - 1
    assert {b - a for a, b in pairwise(taken[4:])} == {5 + 4 * levels - 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "fifo"}, "Policy must be one of next-use, liveness, lru, none, not 'fifo'"),
        ({"cold": -1}, "Cold must be a number of slots, 0 or more, not -1"),
        ({"cold": 0}, "Hot and cold must be one slot at least together, not 0 and 0"),
        ({"lookahead": 0}, "Lookahead must be a positive integer, not 0"),
    ],
)
def test_errors(change, message):
    parameters = control(RULES[0]).parameters
    with pytest.raises(ValueError, match=f"^{message}$"):
        CacheControl(**parameters | change)


@pytest.mark.parametrize("rules", [RULES[3], RULES[6], RULES[9], RULES[10]], ids=lambda r: r.policy)
def test_emits(rules):
    emit(control(rules), verilog=True)
