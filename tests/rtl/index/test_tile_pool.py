"""Means of heads that come tile by tile, whoever waits."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.tile_pool import TilePool
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.index.key_store import rows_of_rounds
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

SMALL = {"size": 4, "head_dim": 8, "block": 8, "tokens": 40, "heads": 3}


def bench_of(unit, rounds, stalls, **options):
    """Rounds of keys in, means out: block after block, and of each block head after head."""
    p = unit.parameters
    tokens, head_dim = rounds[0].shape[1:]
    rows = pack(unit.i.payload.shape(), **rows_of_rounds(rounds, p["size"]))
    fields = {name: [] for name in ("x", "last", "key_head", "block", "round", "done")}
    per_block = head_dim // p["size"]
    for number, keys in enumerate(rounds):
        means = np.stack([pool_block_means(x, block=p["block"], fraction=4) for x in keys])
        heads, blocks = means.shape[:2]
        n = heads * blocks
        fields["x"].append(means.swapaxes(0, 1).reshape(-1, p["size"]))
        fields["last"].append(np.tile(np.arange(per_block) == per_block - 1, n))
        fields["key_head"].append(np.repeat(np.tile(np.arange(heads), blocks), per_block))
        fields["block"].append(np.repeat(np.arange(blocks), heads * per_block))
        fields["round"].append(np.full(n * per_block, number % 2))
        fields["done"].append(np.repeat(np.arange(n) >= n - heads, per_block))
    x, last, *tag = (np.concatenate(x) for x in fields.values())
    names = ("key_head", "block", "round", "done")
    tags = dict(zip(names, tag, strict=True))
    given = pack(unit.o.payload.shape(), x=x, last=last, tag=tags)
    call = pack(unit.call.payload.shape(), tokens=[tokens])
    return Testbench(
        {"call": Stimulus(call), "i": Stimulus(rows, stalls.get("i", FREE))},
        {"o": Expectation(given, stalls.get("o", FREE))},
        max_cycles=1000 + 20 * len(rows),
        levels={"may_begin": 1},
        **options,
    )


def rounds_of(tokens, heads, head_dim=8):
    rng = np.random.default_rng(tokens)
    return [rng.integers(-128, 128, (n, tokens, head_dim)).astype(np.int8) for n in heads]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"heads": 0}, ValueError, "Heads must be a positive integer, not 0"),
        (
            {"size": 16, "head_dim": 16},
            ValueError,
            "Block must be a multiple of the size, 16, not 8",
        ),
        ({"tokens": None}, TypeError, "Tokens must be a positive integer, not None"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        TilePool(**SMALL | changes)


@pytest.mark.parametrize("changes", [{}, {"size": 8}, {"head_dim": 4, "heads": 1}], ids=str)
@pytest.mark.parametrize("tokens", [1, 8, 21, 40])
@pytest.mark.parametrize(
    "stalls",
    [{}, {"o": Stall(0.9, seed=1)}, {"o": Stall(0.5, 60, 2), "i": Stall(0.3, seed=3)}],
    ids=("free", "slow sink", "bursts"),
)
def test_rounds(changes, tokens, stalls):
    unit = TilePool(**SMALL | changes)
    most = unit.parameters["heads"]
    heads = [min(n, most) for n in (3, 1, 2, 2)]
    rounds = rounds_of(tokens, heads, unit.parameters["head_dim"])
    check(emit(unit), bench_of(unit, rounds, stalls), "pysim")


def test_held_and_reset():
    unit = TilePool(**SMALL)
    rounds = rounds_of(19, [2, 3])
    check_held(emit(unit), bench_of(unit, rounds, {}), "pysim")
    for aborted in range(5, 90, 9):
        check(emit(unit), bench_of(unit, rounds, {}, aborted_cycles=aborted), "pysim")
