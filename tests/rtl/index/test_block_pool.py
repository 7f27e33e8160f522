import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.index.block_pool import BlockPool
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

SMALL = {"size": 4, "head_dim": 12, "block": 8, "tokens": 40}
STALLS = {
    "free": {},
    "random": {"call": Stall(0.5, seed=1), "i": Stall(0.3, seed=2), "o": Stall(0.4, seed=3)},
    "slow source": {"i": Stall(0.8, seed=2)},
    "slow sink": {"o": Stall(0.9, 5, seed=3)},
}


def head(rng, tokens, chunks, *, size=4, width=8):
    """Tokens of all kinds, and as long as chunks say."""
    most = 1 << width - 1
    x = rng.integers(-most, most, (tokens, chunks * size))
    x[rng.random(tokens) < 0.3] = rng.choice([-most, most - 1, 0])
    return x.astype(np.int8)


def bench_of(unit, heads, *, filled=None, stalls=None, **options):
    """Heads one after the other, filled up to whole tiles with noise where they are."""
    p = unit.parameters
    size, stalls = p["size"], stalls or {}
    rng = np.random.default_rng(9)
    filled = [bool(rng.integers(2)) for _ in heads] if filled is None else filled
    most = 1 << p["width"] - 1
    rows, lasts, means, ends, dones = [], [], [], [], []
    for x, is_filled in zip(heads, filled, strict=True):
        beyond = -len(x) % size if is_filled else 0
        noise = rng.integers(-most, most, (beyond, x.shape[1]))
        chunks = x.shape[1] // size
        sent = np.concatenate([x, noise]).reshape(-1, size)
        rows.append(sent)
        lasts.append(np.arange(len(sent)) % chunks == chunks - 1)
        mean = pool_block_means(x, block=p["block"], fraction=p["fraction"]).reshape(-1, size)
        means.append(mean)
        ends.append(np.arange(len(mean)) % chunks == chunks - 1)
        dones.append(np.arange(len(mean)) == len(mean) - 1)
    calls = pack(unit.call.payload.shape(), tokens=[len(x) for x in heads], filled=filled)
    sent = pack(unit.i.payload.shape(), row=np.concatenate(rows), last=np.concatenate(lasts))
    o = unit.o.payload.shape()
    given = np.concatenate(means), np.concatenate(ends), np.concatenate(dones)
    expected = pack(o, **dict(zip(("x", "last", "done"), given, strict=True)))
    return Testbench(
        {
            "call": Stimulus(calls, stalls.get("call", FREE)),
            "i": Stimulus(sent, stalls.get("i", FREE)),
        },
        {"o": Expectation(expected, stalls.get("o", FREE))},
        max_cycles=3000 + 20 * len(sent),
        **options,
    )


class TestConstructor:
    def test_attributes(self):
        unit = BlockPool(size=32, head_dim=128, block=128, tokens=1 << 17)
        assert len(unit.call.payload.tokens) == 18
        assert len(unit.i.payload.row) == 32
        assert unit.o.payload.x[0].shape().width == 12

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"size": 0}, ValueError, "Width must be a positive integer, not 0"),
            (
                {"head_dim": 10},
                ValueError,
                "Head dimension must be a multiple of the width, 4, not 10",
            ),
            ({"block": "8"}, TypeError, "Block must be a positive integer, not '8'"),
            ({"block": 1}, ValueError, "Block must be a power of two from 2 to 128, not 1"),
            ({"block": 12}, ValueError, "Block must be a power of two from 2 to 128, not 12"),
            ({"block": 256}, ValueError, "Block must be at most 128, not 256"),
            ({"tokens": 0}, ValueError, "Tokens must be a positive integer, not 0"),
            ({"width": 9}, ValueError, "Width must be at most 8, not 9"),
            ({"fraction": 9}, ValueError, "Fraction must be at most 8, not 9"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            BlockPool(**SMALL | changes)


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        {"size": 4, "head_dim": 4, "block": 2, "tokens": 40},
        {"size": 5, "head_dim": 10, "block": 4, "tokens": 40},
        {"size": 3, "head_dim": 6, "block": 16, "tokens": 40, "width": 4, "fraction": 1},
        {"size": 2, "head_dim": 2, "block": 128, "tokens": 300, "fraction": 8},
    ],
    ids=lambda sizes: "-".join(map(str, sizes.values())),
)
class TestHeads:
    @pytest.mark.parametrize("stalls", STALLS)
    def test_of_any_length(self, sizes, stalls):
        unit = BlockPool(**sizes)
        rng = np.random.default_rng(len(stalls))
        size, block = sizes["size"], sizes["block"]
        lengths = [1, 2, 3, block - 1, block, block + 1, 2 * block, 2 * block + 1, 1, 1, 33]
        heads = [
            head(
                rng,
                min(n, sizes["tokens"]),
                int(rng.integers(1, sizes["head_dim"] // size + 1)),
                size=size,
                width=sizes.get("width", 8),
            )
            for n in lengths
        ]
        check(emit(unit), bench_of(unit, heads, stalls=STALLS[stalls]), "pysim")

    def test_conversion(self, sizes):
        assert emit(BlockPool(**sizes)).ports


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=6))
@settings(max_examples=10, derandomize=True, deadline=None)
def test_any_heads(shapes):
    unit = BlockPool(**SMALL)
    rng = np.random.default_rng(len(shapes))
    heads = [head(rng, tokens, chunks) for tokens, chunks in shapes]
    check(emit(unit), bench_of(unit, heads, stalls=STALLS["random"]), "pysim")


def test_held_and_reset():
    unit = BlockPool(**SMALL)
    rng = np.random.default_rng(3)
    heads = [head(rng, 19, 2), head(rng, 8, 3)]
    check_held(emit(unit), bench_of(unit, heads), "pysim")
    for aborted in range(5, 90, 9):
        check(emit(unit), bench_of(unit, heads, aborted_cycles=aborted), "pysim")


@pytest.mark.parametrize(("size", "block"), [(4, 8), (16, 16), (8, 32), (32, 8)])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_chunk_a_cycle(size, block, chunks):
    unit = BlockPool(size=size, head_dim=3 * size, block=block, tokens=9 * block)
    rng = np.random.default_rng(0)
    heads = [head(rng, 8 * block, chunks, size=size), head(rng, 5 * block, chunks, size=size)]
    result = check(emit(unit), bench_of(unit, heads, filled=[0, 0]), "pysim")
    moved = result.transfers["i"]
    for first, tokens in ((0, 8 * block), (8 * block * chunks, 5 * block)):
        last = first + tokens * chunks - 1
        assert moved[last] - moved[first] == last - first
    assert moved[8 * block * chunks] - moved[8 * block * chunks - 1] == 3
    groups = -(-size // -(-2 * size // block))
    # A block is there that many cycles after its last token.
    assert result.transfers["o"][-1] - moved[-1] == 7 + groups * chunks
