"""Means of rounds of KV heads: kept in two banks, read while the next round comes."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.key_store import KeyStore
from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.index.key_store import rows_of_rounds, stored_means
from qkloom.tb.stalls import FREE, Stall

SMALL = {"size": 4, "dot_width": 8, "head_dim": 16, "block": 8, "tokens": 40, "key_heads": 3}


def play(unit, calls, *, stall=FREE, late=0):
    """Send calls (tokens, rounds of keys), read each round when it is complete, and release it.

    Return the cycle of each row, and whether all that was read is the model's. A round is read
    ``late`` cycles after it is complete.
    """
    p = unit.parameters
    size = p["size"]
    taken, read = [], []

    async def send(ctx):
        cycle = 0
        for tokens, rounds in calls:
            ctx.set(unit.call.payload.tokens, tokens)
            ctx.set(unit.call.valid, 1)
            while not ctx.get(unit.call.ready):
                await ctx.tick()
                cycle += 1
            await ctx.tick()
            cycle += 1
            ctx.set(unit.call.valid, 0)
            ctx.set(unit.call.payload.tokens, 0)
            rows = rows_of_rounds(rounds, size)
            for row, last, head in zip(*(x.tolist() for x in rows.values()), strict=True):
                moved = False
                while not moved:
                    offers = not stall.at("i", cycle)
                    ctx.set(unit.i.valid, offers)
                    ctx.set(unit.i.payload.row, row)
                    ctx.set(unit.i.payload.last, last if offers else 1 - last)
                    ctx.set(unit.i.payload.key_head, head if offers else 0)
                    moved = offers and ctx.get(unit.i.ready)
                    await ctx.tick()
                    cycle += 1
                taken.append(cycle - 1)
            ctx.set(unit.i.valid, 0)

    async def look(ctx):
        for _, rounds in calls:
            for keys in rounds:
                means = []
                for head in range(len(keys)):
                    while not ctx.get(unit.complete) >> head & 1:
                        await ctx.tick()
                    for _ in range(late):
                        await ctx.tick()
                    means.append(await beats(ctx, head, *keys.shape[1:]))
                ctx.set(unit.releases, 1)
                await ctx.tick()
                ctx.set(unit.releases, 0)
                read.append(means)

    async def limit(ctx):
        for _ in range(20_000):
            await ctx.tick()
        raise TimeoutError("It does not end")

    async def beats(ctx, head, tokens, head_dim):
        ctx.set(unit.key_head, head)
        rows = []
        for vector in range(-(-tokens // p["block"])):
            ctx.set(unit.vector, vector)
            for beat in range(-(-head_dim // p["dot_width"])):
                if p["head_dim"] > p["dot_width"]:
                    ctx.set(unit.beat, beat)
                await ctx.tick()
                rows.append([ctx.get(unit.o[k]) for k in range(p["dot_width"])])
        return np.array(rows).reshape(-(-tokens // p["block"]), -1)[:, :head_dim].tolist()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(look)
    simulator.add_testbench(limit, background=True)
    simulator.run()
    expected = []
    for tokens, rounds in calls:
        rows = rows_of_rounds(rounds, size)
        pooled = stored_means(rows, tokens, size=size, block=p["block"], fraction=p["fraction"])
        expected += [[means.tolist() for means in heads] for heads in pooled]
    return taken, read == expected


def keys_of(rng, heads, tokens, head_dim):
    keys = rng.integers(-128, 128, (heads, tokens, head_dim))
    keys[rng.random((heads, tokens)) < 0.3] = rng.choice([-128, 127, 0])
    return keys.astype(np.int8)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key_heads": 0}, ValueError, "KV heads must be a positive integer, not 0"),
        ({"tokens": 0}, ValueError, "Tokens must be a positive integer, not 0"),
        ({"block": 12}, ValueError, "Block must be a power of two from 2 to 128, not 12"),
        ({"size": 16}, ValueError, "Block must be a multiple of the size, 16, not 8"),
        ({"dot_width": 6}, ValueError, "Head dimension must be a multiple of the width, 6, not 16"),
        ({"width": 9}, ValueError, "Width must be at most 8, not 9"),
        ({"memory": "x"}, ValueError, "Memory must be one of 'auto', 'block', 'ultra', not 'x'"),
        ({"fraction": "4"}, TypeError, "Fraction must be a positive integer, not '4'"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        KeyStore(**SMALL | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key_heads": 1, "dot_width": 16, "memory": "ultra"},
        {"size": 8, "key_heads": 2, "dot_width": 8, "head_dim": 8},  # a tile is a block
        {"size": 1, "head_dim": 1, "dot_width": 1, "block": 2, "tokens": 9},
        {"size": 2, "head_dim": 4, "dot_width": 2, "block": 16, "tokens": 13, "key_heads": 2},
        {"size": 4, "head_dim": 4, "dot_width": 4, "block": 4, "tokens": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize(("stalled", "late"), [(0.0, 0), (0.4, 0), (0.0, 100)])
def test_rounds(changes, stalled, late):
    sizes = SMALL | changes
    assert emit(KeyStore(**sizes)).ports
    rng = np.random.default_rng(late)
    size, block, most = sizes["size"], sizes["block"], sizes["tokens"]
    calls = []
    for tokens in (1, size, min(block, most), most, min(block + 1, most), max(most - 1, 1)):
        head_dim = size * int(rng.integers(1, sizes["head_dim"] // size + 1))
        heads = rng.integers(1, sizes["key_heads"] + 1, int(rng.integers(1, 5)))
        calls.append((tokens, [keys_of(rng, n, tokens, head_dim) for n in heads]))
    _, is_equal = play(KeyStore(**sizes), calls, stall=Stall(stalled, seed=1), late=late)
    assert is_equal


def test_the_model_finds_rounds():
    rng = np.random.default_rng(1)
    rounds = [keys_of(rng, n, 9, 8) for n in (2, 1, 3, 1)]
    found = stored_means(rows_of_rounds(rounds, 4), 9, size=4, block=8, fraction=4)
    expected = [[pool_block_means(x, block=8, fraction=4) for x in keys] for keys in rounds]
    assert [[x.tolist() for x in r] for r in found] == [[x.tolist() for x in r] for r in expected]


@pytest.mark.parametrize(("size", "block"), [(4, 8), (8, 8), (4, 32)])
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("heads", [1, 3])
def test_a_chunk_a_cycle(size, block, chunks, heads):
    head_dim, tokens = 2 * size, 4 * block - 1
    unit = KeyStore(
        size=size, dot_width=size, head_dim=head_dim, block=block, tokens=tokens, key_heads=3
    )
    rng = np.random.default_rng(0)
    rounds = [keys_of(rng, heads, tokens, chunks * size) for _ in range(2)]
    taken, is_equal = play(unit, [(tokens, rounds)])
    assert is_equal
    assert taken[-1] - taken[0] == len(taken) - 1


def test_two_rounds_are_taken_and_the_third_waits():
    rng = np.random.default_rng(2)
    rounds = [keys_of(rng, 2, 40, 16) for _ in range(3)]
    taken, is_equal = play(KeyStore(**SMALL), [(40, rounds)], late=2000)
    assert is_equal
    n = len(taken) // 3
    assert taken[2 * n - 1] - taken[0] == 2 * n - 1
    assert taken[2 * n + 2] > 2000  # two rows wait inside
