import random
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.normalize import Normalizer
from qkloom.tb.lane.normalize import normalize
from qkloom.tb.lane.reciprocal import exponent, reciprocal

DEFAULT = {
    "size": 4,
    "block_rows": 3,
    "head_dim": 8,
    "slots": 2,
    "out_width": 2,
    "acc_width": 30,
}
VARIANTS = {
    "default": {},
    "whole tiles": {"out_width": 4},
    "single elements, one tile, one row, one slot": {
        "out_width": 1,
        "head_dim": 4,
        "block_rows": 1,
        "slots": 1,
    },
    "values of 4 bits": {"acc_width": 24, "stationary_width": 4},
    "narrow": {"acc_width": 15, "head_dim": 12},
    "wide": {"acc_width": 48, "size": 8, "head_dim": 16, "out_width": 8, "slots": 3},
}


class Blocks:
    """Random query blocks in turn over the slots, and what the exact model makes of them."""

    def __init__(self, *, n=6, seed=0, full=False, **changes):
        self.parameters = parameters = DEFAULT | changes
        rng = np.random.default_rng(seed)
        end = 1 << parameters.get("stationary_width", 8) - 1
        sum_width = parameters["acc_width"] - (2 * end - 1).bit_length() + 1
        n_tiles = parameters["head_dim"] // parameters["size"]
        self.blocks, self.accs, self.totals, self.beats = [], [], [], []
        for k in range(n):
            rows = (
                parameters["block_rows"] if full else rng.integers(1, parameters["block_rows"] + 1)
            )
            tiles = n_tiles if full else rng.integers(1, n_tiles + 1)
            columns = int(tiles) * parameters["size"]
            totals = rng.integers(0, 1 << sum_width, rows) >> rng.integers(0, sum_width, rows)
            totals[rng.random(rows) < 0.2] = 0
            # Values and half of the rows at the ends of their range.
            values = rng.choice([-end, end - 1, *rng.integers(-end, end, 6)], (rows, columns))
            most = (1 << parameters["acc_width"] - 1) - 1
            # An eighth of the rows is far beyond what 27 aligned bits hold.
            far = rng.choice([1, 1, 1, 1, 1, 1, 1, 999], rows)
            limit = np.minimum((end * totals + end // 2) * far, most)
            accs = totals[:, None] * values + rng.integers(-1, 2, (rows, columns))
            accs = np.clip(accs, -limit[:, None], limit[:, None])
            at_end = rng.random(rows) < 0.3
            accs[at_end] = np.where(accs[at_end] < 0, -limit[at_end, None], limit[at_end, None])
            self.blocks.append(
                {"slot": k % parameters["slots"], "rows": int(rows), "d_tiles": int(tiles)}
            )
            self.accs.append(accs)
            self.totals.append(totals)
            out = normalize(accs, totals).reshape(-1, parameters["out_width"])
            ends = [0] * (len(out) - 1) + [1]
            self.beats += [(row, end) for row, end in zip(out.tolist(), ends, strict=True)]


def run(work, *, recip_late=0, pace=1.0, read_pace=1.0, seed=0):
    """Return the beats with their cycles, the cycles of words, and what ``done`` said.

    Reciprocals come as early as they may, or, with ``recip_late``, so many cycles after all that
    was asked for has left.
    """
    dut = Normalizer(**work.parameters)
    size, slots = work.parameters["size"], work.parameters["slots"]
    beats, reads, done, given = [], [], [], []
    parts = size // work.parameters["out_width"]
    rng = random.Random(seed)

    async def blocks(ctx):
        for block in work.blocks:
            ctx.set(dut.i.payload, block)
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            while rng.random() > pace:
                await ctx.tick()

    async def reciprocals(ctx):
        for k, (block, totals) in enumerate(zip(work.blocks, work.totals, strict=True)):
            while len(done) < k - slots + 1:
                await ctx.tick()
            for row, total in enumerate(totals):
                needed = parts * sum(tiles for _, tiles in given)
                while recip_late and len(beats) < needed:
                    await ctx.tick()
                for _ in range(recip_late):
                    await ctx.tick()
                safe = max(int(total), 1)
                factor = {"zero": int(total == 0), "e": 63, "r": 0}
                if total:
                    factor |= {"e": int(exponent(safe)), "r": int(reciprocal(safe))}
                ctx.set(dut.recip.payload, factor | {"tag": {"slot": block["slot"], "row": row}})
                ctx.set(dut.recip.valid, 1)
                await ctx.tick()
                given.append(((k, row), block["d_tiles"]))
                ctx.set(dut.recip.valid, 0)

    expected = iter(
        [
            (
                (k, row),
                [block["slot"], row, tile],
                accs[row, tile * size : (tile + 1) * size].tolist(),
            )
            for k, (block, accs) in enumerate(zip(work.blocks, work.accs, strict=True))
            for row in range(block["rows"])
            for tile in range(block["d_tiles"])
        ]
    )

    async def memory(ctx):
        at, cycle, asked = dut.read.payload, 0, []
        ready = read_pace == 1
        ctx.set(dut.read.ready, ready)
        signals = (dut.read.valid, at.slot, at.row, at.tile)
        async for _, _, valid, *found_at in ctx.tick().sample(*signals):
            if valid and ready:
                place, where, found = next(expected)
                assert where == found_at
                assert place in dict(given), "asked for before its reciprocal was there"
                asked.append(found)
            answers = bool(asked) and rng.random() < read_pace
            ctx.set(dut.data.valid, answers)
            ctx.set(dut.data.payload, asked.pop(0) if answers else [-1] * size)
            if answers:
                reads.append(cycle + 1)
            ready = rng.random() < read_pace
            ctx.set(dut.read.ready, ready)
            cycle += 1

    async def watch(ctx):
        cycle, held = 0, None
        while len(beats) < len(work.beats):
            assert cycle < 100 + 20 * (recip_late + 2) * len(work.beats) / pace, "no end"
            ctx.set(dut.o.ready, rng.random() < pace)
            o = dut.o.payload
            _, _, valid, ready, last, is_done, slot, *row = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, o.last, dut.done.valid, dut.done.payload.slot, *o.row
            )
            if is_done:
                done.append(slot)
            item = (row, last)
            assert held is None or (valid and item == held), "withdrawn or changed"
            held = item if valid and not ready else None
            if valid and ready:
                beats.append((cycle, item))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(blocks, background=True)
    simulator.add_testbench(reciprocals, background=True)
    simulator.add_process(memory)
    simulator.add_testbench(watch)
    simulator.run()
    return beats, reads, done


def check(work, beats, done):
    assert [item for _, item in beats] == work.beats
    assert done == [block["slot"] for block in work.blocks]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_random_blocks(changes, pace):
    work = Blocks(**changes)
    beats, _, done = run(work, pace=pace)
    check(work, beats, done)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("recip_late", [1, 9])
def test_it_waits_for_each_reciprocal(changes, recip_late):
    work = Blocks(seed=2, **changes)
    beats, _, done = run(work, recip_late=recip_late)
    check(work, beats, done)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_words_that_are_late(changes):
    work = Blocks(seed=3, **changes)
    beats, _, done = run(work, read_pace=0.4)
    check(work, beats, done)


@pytest.mark.parametrize("out_width", [1, 2, 4])
def test_one_beat_a_cycle(out_width):
    work = Blocks(full=True, n=2, block_rows=16, out_width=out_width)
    beats, words, _ = run(work)
    latency, parts = Normalizer(**work.parameters).latency, 4 // out_width
    cycles = [cycle for cycle, _ in beats]
    assert cycles[::parts] == [cycle + latency for cycle in words]
    assert list(np.diff(cycles[: 32 * parts])) == [1] * (32 * parts - 1)


def test_nothing_is_lost_while_nobody_takes():
    work = Blocks(full=True, n=2)
    beats, _, done = run(work, pace=0.05)
    check(work, beats, done)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "Size must be a positive integer, not 0"),
        ({"block_rows": -1}, "Block rows must be a positive integer, not -1"),
        ({"slots": 0}, "Slots must be a positive integer, not 0"),
        ({"acc_width": 0}, "Accumulator width must be a positive integer, not 0"),
        ({"head_dim": 10}, "Head_dim must be a multiple of size 4, not 10"),
        ({"out_width": 3}, "Out width must divide size 4, not 3"),
        ({"out_width": 0}, "Out width must be a positive integer, not 0"),
        ({"stationary_width": 5}, "Stationary width must be 4 or 8, not 5"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Normalizer(**(DEFAULT | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(
        TypeError, match=r"^Accumulator width must be a positive integer, not 2\.5$"
    ):
        Normalizer(**(DEFAULT | {"acc_width": 2.5}))


def test_it_converts():
    for changes in VARIANTS.values():
        assert "module \\top" in emit(Normalizer(**(DEFAULT | changes)), name="top").rtlil
