"""Lanes get the rows of the blocks they need, from wherever they are; memory is asked once."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.cache.cache import BlockCache
from qkloom.tb.cache.control import decide, describe_visits
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of

SHAPE = {
    "blocks": 5,
    "heads": 2,
    "windows": 20,
    "most": 10,
    "n_lanes": 3,
    "size": 2,
    "block": 4,
    "head_dim": 4,
    "element_width": 8,
}
RULES = [
    CacheRules("next-use", cold=3, lookahead=2),
    CacheRules("next-use", hot=1, cold=1, threshold=2, lookahead=1),
    CacheRules("next-use", cold=1, lookahead=4),
    CacheRules("liveness", hot=2, cold=1, threshold=2, lookahead=3),
    CacheRules("lru", cold=2, lookahead=2),
    CacheRules("none", lookahead=2),
]


def cache(rules, **more):
    return BlockCache(
        policy=rules.policy,
        hot=rules.hot,
        cold=rules.cold,
        lookahead=rules.lookahead,
        **SHAPE | more,
    )


def rows_of(block, tile, *, d_tiles, salt):
    """Return the rows of a tile: numbers that tell where they are from."""
    return [[salt + block * 8 + tile, k] for k in range(SHAPE["size"] * d_tiles)]


class Bench:
    """A call, and what surrounds a cache while it is made."""

    def __init__(self, rules, *, seed, slow, late=None, d_tiles=2, **more):
        self.rules, self.late, self.d_tiles = rules, late, d_tiles
        self.rng = random.Random(seed)
        rng = np.random.default_rng(seed)
        needs = rng.random((4, 5, 5)) < 0.5
        needs[::2, 0, 0] = True
        self.visits = visits_of(needs, kv_heads=2, pairs_per_window=3)
        self.slow = slow
        self.dut = cache(rules, **more)
        # The last block of a head has a token, or three.
        self.tokens = [{4: 1, 9: 3}.get(block, 4) for block in self.visits.block.tolist()]
        self.tiles = [
            [self.rng.randrange(1, 8) for _ in range(self.rng.randint(1, -(-n // 2)))]
            for n in self.tokens
        ]

    def paces(self, share):
        return self.rng.random() < (share if self.slow else 1)

    def run(self):
        """Return requests, rows of keys and of values."""
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        self.requests, self.out, self.done = [], {"key": [], "value": []}, 0
        self.memory = {"key": [], "value": []}
        simulator.add_testbench(self.ask)
        simulator.add_testbench(self.tell, background=True)
        simulator.add_testbench(self.load, background=True)
        for k, name in enumerate(("key", "value")):
            simulator.add_testbench(self.bring(name, -100 * k), background=True)
            simulator.add_testbench(self.take(name), background=True)
        simulator.run()
        return self.requests, self.out

    async def ask(self, ctx):
        dut = self.dut
        ctx.set(dut.d_tiles, self.d_tiles)
        told = describe_visits(self.visits, self.rules, blocks=5, windows=SHAPE["windows"])
        for visit, block, tokens in zip(told, self.visits.block.tolist(), self.tokens, strict=True):
            while not self.paces(0.3):
                await ctx.tick()
            ctx.set(dut.visits.payload, {"visit": visit, "index": block, "tokens": tokens})
            ctx.set(dut.visits.valid, 1)
            await ctx.tick().until(dut.visits.ready)
            ctx.set(dut.visits.valid, 0)
        ctx.set(dut.ends, 1)
        await ctx.tick().until(dut.idle)
        await ctx.tick().repeat(300)  # rows that have been read wait for whoever is late

    async def tell(self, ctx):
        dut = self.dut
        for tiles in self.tiles:
            for item in [*({"to": to, "ends": 0} for to in tiles), {"to": 0, "ends": 1}]:
                while not self.paces(0.5):
                    await ctx.tick()
                ctx.set(dut.tiles.payload, item)
                ctx.set(dut.tiles.valid, 1)
                await ctx.tick().until(dut.tiles.ready)
                ctx.set(dut.tiles.valid, 0)

    async def load(self, ctx):
        dut = self.dut
        while True:
            ctx.set(dut.requests.ready, self.paces(0.5))
            _, _, valid, ready, request = await ctx.tick().sample(
                dut.requests.valid, dut.requests.ready, dut.requests.payload
            )
            if valid and ready:
                one = (request.index, request.tile, request.tokens)
                self.requests.append(one)
                for name in self.memory:
                    self.memory[name].append(one)

    def bring(self, name, salt):
        async def process(ctx):
            port = getattr(self.dut, f"i_{name}")
            while True:
                if not self.memory[name]:
                    await ctx.tick()
                    continue
                block, tile, _ = self.memory[name].pop(0)
                for row in rows_of(block, tile, d_tiles=self.d_tiles, salt=salt):
                    while not self.paces(0.4):
                        await ctx.tick()
                    ctx.set(port.payload, row)
                    ctx.set(port.valid, 1)
                    await ctx.tick().until(port.ready)
                    ctx.set(port.valid, 0)

        return process

    def take(self, name):
        async def process(ctx):
            port = getattr(self.dut, f"o_{name}")
            while True:
                is_late = name == self.late and self.rng.random() < 0.9
                ctx.set(port.ready, not is_late and self.paces(0.6))
                _, _, valid, ready, row = await ctx.tick().sample(
                    port.valid, port.ready, port.payload
                )
                if valid and ready:
                    self.out[name].append((row.to, list(row.item.row), row.item.last))

        return process

    def expected(self):
        """Return the same of the exact model."""
        requests, out = [], {"key": [], "value": []}
        blocks = self.visits.block.tolist()
        for decision, block, tokens, tiles in zip(
            decide(self.visits, self.rules), blocks, self.tokens, self.tiles, strict=True
        ):
            if not decision.hit:
                requests += [
                    (block, tile, min(2, tokens - 2 * tile)) for tile in range(-(-tokens // 2))
                ]
            for k, name in enumerate(out):
                for tile, to in enumerate(tiles):
                    rows = rows_of(block, tile, d_tiles=self.d_tiles, salt=-100 * k)
                    out[name] += [
                        (to, row, int(number % self.d_tiles == self.d_tiles - 1))
                        for number, row in enumerate(rows)
                    ]
        return requests, out


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("rules", RULES, ids=lambda r: f"{r.policy}-{r.hot}-{r.cold}-{r.lookahead}")
def test_rows_and_requests(rules, slow):
    bench = Bench(rules, seed=rules.slots + slow, slow=slow)
    assert bench.run() == bench.expected()


@pytest.mark.parametrize("late", ["key", "value"])
def test_a_visit_is_served_when_both_have_left(late):
    # A buffer of what is kept nowhere fills anew only behind both.
    bench = Bench(CacheRules("none", lookahead=5), seed=7, slow=False, late=late)
    assert bench.run() == bench.expected()


def test_tiers_in_memories_of_their_own():
    memories = {"split": True, "hot_memory": "ultra", "cold_memory": "auto"}
    bench = Bench(RULES[3], seed=5, slow=True, d_tiles=1, **memories)
    assert bench.run() == bench.expected()


def test_emits():
    emit(cache(RULES[1]), verilog=True)
