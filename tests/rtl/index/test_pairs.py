"""The source of pairs against its exact model, alone and in front of a selector."""

import re
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.block_pool import BlockPool
from qkloom.rtl.index.pairs import PairSource
from qkloom.rtl.index.selector import CoverageSelector
from qkloom.rtl.stream import connect_stream
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.index.selector import Ask, selector_words
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench
from tests.emitted import emitted
from tests.rtl.index.pairs import WithKeys, bench_of, codes_of, draw, numerics_of, source_of

SMALL = {"size": 4, "dot_width": 8, "head_dim": 16, "blocks": 9, "fraction": 8}
STREAMS = ("call", "keys", "queries", "o")
STALLS = {
    "free": [FREE] * 4,
    "random": [Stall(0.5, seed=1), Stall(0.3, seed=2), Stall(0.4, seed=3), Stall(0.5, seed=4)],
    "bursts": [Stall(0.5, 9, 1), Stall(0.5, 7, 2), Stall(0.5, 5, 3), Stall(0.7, 90, 4)],
    "slow sink": [FREE, FREE, FREE, Stall(0.9, seed=4)],
    "slow keys": [FREE, Stall(0.9, seed=4), FREE, FREE],
}


def stalls_of(name):
    return dict(zip(STREAMS, STALLS[name], strict=True))


class TestConstructor:
    def test_attributes(self):
        unit = PairSource(size=32, dot_width=128, head_dim=128, blocks=1024, fraction=10)
        assert unit.queries.payload.x[0].shape().width == 12
        assert (len(unit.key_vector), unit.key.shape().length) == (10, 128)
        assert dict(unit.o.payload.shape())["code"].width == 16
        assert (unit.latency, unit.overhead) == (37, 69)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"size": 0}, ValueError, "Size must be a positive integer, not 0"),
            ({"size": 3}, ValueError, "Dot width must be a multiple of the size, 3, not 8"),
            (
                {"dot_width": 12, "size": 4},
                ValueError,
                "Head dimension must be a multiple of the width, 12, not 16",
            ),
            ({"blocks": 0}, ValueError, "Number of blocks must be a positive integer, not 0"),
            ({"passes": 1.0}, TypeError, "Number of passes must be a positive integer, not 1.0"),
            ({"fraction": 13}, ValueError, "Fraction must be at most 12, not 13"),
            ({"width": 9}, ValueError, "Width must be at most 8, not 9"),
            ({"pool_fraction": 9}, ValueError, "Pool fraction must be at most 8, not 9"),
            ({"exp_fraction": 24}, ValueError, "Exp fraction must be at least 25, not 24"),
            ({"value_width": 26}, ValueError, "Value width must be at least 27, not 26"),
            ({"head_dim": 4096}, ValueError, "Head dimension must be at most 2048, not 4096"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            PairSource(**SMALL | changes)


@pytest.mark.parametrize(
    ("numbers", "shape"),
    [
        ({}, {}),
        ({"head_dim": 8}, {"dot_width": 8}),
        ({"head_dim": 12, "blocks": 8}, {"size": 2, "dot_width": 4, "passes": 2}),
        ({"head_dim": 6, "blocks": 5, "fraction": 12}, {"size": 1, "dot_width": 3, "passes": 1}),
        ({"head_dim": 4, "blocks": 1, "fraction": 6}, {}),
        ({"head_dim": 4, "blocks": 2, "width": 4}, {}),
    ],
    ids=str,
)
class TestSmall:
    @pytest.mark.parametrize("name", ["random", "bursts", "slow sink"])
    def test_random(self, require, numbers, shape, name):
        require("compiler")
        numerics = numerics_of(**numbers)
        unit = source_of(numerics, **shape)
        rng = np.random.default_rng(len(name))
        size, head_dim = unit.parameters["size"], numerics.lane.head_dim
        calls = [
            draw(
                rng,
                numerics,
                int(rng.integers(1, numerics.blocks + 1)),
                size * int(rng.integers(1, head_dim // size + 1)),
            )
            for _ in range(15)
        ]
        # All sizes, and heads that share keys, or are only loaded.
        for n in range(1, numerics.blocks + 1):
            first = draw(rng, numerics, n, head_dim)
            second = replace(draw(rng, numerics, n, head_dim), keys=first.keys, loads_keys=False)
            third = replace(first, queries=second.queries, loads_queries=False, plays=False)
            calls += [first, second, third, replace(third, loads_keys=False, plays=True)]
        check(emitted(unit), bench_of(unit, calls, numerics, stalls_of(name)))

    def test_conversion(self, numbers, shape):
        assert emit(source_of(numerics_of(**numbers), **shape)).ports


def test_more_keys_than_queries():
    numerics = numerics_of()
    unit = source_of(numerics)
    rng = np.random.default_rng(2)
    call = draw(rng, numerics, 9, 8, kind="any")
    calls = [replace(call, queries=call.queries[:n]) for n in (4, 1, 9)]
    check(emitted(unit), bench_of(unit, calls, numerics), "pysim")


KINDS = ["any", "flat", "peaked", "lowest", "equal"]
HEADS = st.tuples(st.integers(1, 9), st.integers(1, 4), st.sampled_from(KINDS), st.booleans())


@pytest.fixture(scope="module")
def small():
    """A unit and its design, emitted once."""
    numerics = numerics_of(head_dim=16)
    unit = source_of(numerics, dot_width=8)
    return numerics, unit, emit(unit)


def test_held_and_reset(small, require):
    require("compiler")
    numerics, unit, design = small
    rng = np.random.default_rng(3)
    calls = [draw(rng, numerics, n, 16) for n in (5, 3)]
    check_held(design, bench_of(unit, calls, numerics))
    for aborted in range(3, 320, 7):
        check(design, bench_of(unit, calls, numerics, aborted_cycles=aborted))


@given(st.lists(HEADS, min_size=1, max_size=8), st.integers(0, 9), st.sampled_from([0, 0.4, 0.8]))
@settings(max_examples=25, derandomize=True, deadline=None)
def test_any_heads(small, require, heads, seed, stalled):
    require("compiler")
    numerics, unit, design = small
    rng = np.random.default_rng(seed)
    calls = []
    for n, chunks, kind, shares_keys in heads:
        call = draw(rng, numerics, n, 4 * chunks, kind=kind)
        if calls and shares_keys and calls[-1].keys.shape == call.keys.shape:
            call = replace(call, keys=calls[-1].keys, loads_keys=False)
        calls.append(call)
    stalls = {name: Stall(stalled, seed=seed) for name in STREAMS}
    check(design, bench_of(unit, calls, numerics, stalls))


@pytest.mark.parametrize("kind", KINDS)
def test_large(require, kind):
    """Many rows, of all kinds of scores."""
    require("compiler")
    numerics = numerics_of(head_dim=32, blocks=100, fraction=10)
    unit = source_of(numerics, size=8, dot_width=32)
    rng = np.random.default_rng(1)
    calls = [draw(rng, numerics, n, d, kind=kind) for n, d in ((100, 32), (64, 8), (65, 24))]
    check(emitted(unit), bench_of(unit, calls, numerics))


@pytest.mark.parametrize("head_dim", [128, 256, 1024])
def test_the_largest_scores(require, head_dim):
    """Of both signs: wide vectors keep less of a fraction, so that a multiplier holds the score."""
    require("compiler")
    numerics = numerics_of(head_dim=head_dim, blocks=4)
    unit = source_of(numerics, size=32, dot_width=32)
    rng = np.random.default_rng(1)
    lowest = draw(rng, numerics, 4, head_dim, kind="lowest")
    signs = np.array([[1], [-1], [1], [-1]]) * lowest.keys - np.array([[0], [1], [0], [1]])
    calls = [
        replace(lowest, keys=keys, shift=shift)
        for keys in (lowest.keys, signs)
        for shift in (0, 30)
    ]
    check(emitted(unit), bench_of(unit, calls, numerics))


@pytest.mark.parametrize("dot_width", [4, 8, 16])
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_cycles(require, dot_width, n):
    """A pair in as many cycles as it has beats, and little else."""
    require("compiler")
    numerics = numerics_of(head_dim=16, blocks=40)
    unit = source_of(numerics, dot_width=dot_width)
    beats, pairs = 16 // dot_width, n * (n + 1) // 2
    first = draw(np.random.default_rng(n), numerics, n, 16)
    again = replace(first, loads_keys=False, loads_queries=False)
    result = check(emitted(unit), bench_of(unit, [first, again, again], numerics))
    calls, codes = (result.transfers[name].astype(int) for name in ("call", "o"))
    sweep = pairs * beats + 1
    assert calls[2] - calls[1] == 4 * sweep + n + unit.overhead
    assert calls[1] - calls[0] == 4 * sweep + n + unit.overhead + n * 4
    of_call = codes[: 3 * pairs].reshape(3, pairs)
    assert (np.diff(of_call, axis=1) == beats).all()
    assert (np.diff(of_call, axis=0) == sweep).all()


class Chain(Component):
    """Keys and queries of tokens in, what is taken out."""

    def __init__(self, *, size, head_dim, block, tokens, blocks, fraction):
        self._sizes = {"size": size, "head_dim": head_dim}
        self._pool = {"block": block, "tokens": tokens}
        self._pairs = {"dot_width": head_dim, "blocks": blocks, "fraction": fraction}
        pool, source, selector = self._parts()
        ends = [("call", In, source.call), ("start", In, selector.start)]
        ends += [(name, Out, getattr(selector, name)) for name in ("o", "result")]
        for of in ("k", "q"):
            ends += [(f"{name}_{of}", In, getattr(pool, name)) for name in ("call", "i")]
        super().__init__(
            {name: flow(stream.Signature(port.payload.shape())) for name, flow, port in ends}
        )

    def _parts(self):
        blocks = self._pairs["blocks"]
        return (
            BlockPool(**self._sizes, **self._pool),
            WithKeys(**self._sizes, **self._pairs),
            CoverageSelector(candidates=blocks * (blocks + 1) // 2),
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.pool_k, m.submodules.source, m.submodules.selector = parts = self._parts()
        pool_k, source, selector = parts
        m.submodules.pool_q = pool_q = BlockPool(**self._sizes, **self._pool)
        for port, inner in (
            (self.call, source.call),
            (self.start, selector.start),
            (self.call_k, pool_k.call),
            (self.i_k, pool_k.i),
            (self.call_q, pool_q.call),
            (self.i_q, pool_q.i),
        ):
            connect_stream(m, wiring.flipped(port), inner)
        connect_stream(m, pool_k.o, source.keys)
        connect_stream(m, pool_q.o, source.queries)
        connect_stream(m, source.o, selector.i)
        connect_stream(m, selector.o, wiring.flipped(self.o))
        connect_stream(m, selector.result, wiring.flipped(self.result))
        return m


@pytest.mark.parametrize("name", ["free", "random"])
def test_from_tokens_to_what_is_taken(require, name):
    """Pooled, paired, selected: as the exact models say."""
    require("compiler")
    numerics = numerics_of(head_dim=8, blocks=12, block=8)
    unit = Chain(size=4, head_dim=8, block=8, tokens=96, blocks=12, fraction=8)
    rng = np.random.default_rng(len(name))
    asks, sent, calls = [], {"k": [], "q": []}, []
    for tokens in (1, 8, 9, 40, 63, 64, 96):
        q, k = (rng.integers(-128, 128, (tokens, 8)).astype(np.int8) for _ in range(2))
        if tokens == 40:
            q[:], k[:] = -128, -128
        sent["q"].append(q)
        sent["k"].append(k)
        pooled = [pool_block_means(x, block=8, fraction=4) for x in (q, k)]
        call = replace(draw(rng, numerics, 1, 8), queries=pooled[0], keys=pooled[1], shift=22)
        calls.append(call)
        codes = codes_of(call, numerics)
        gamma = int(rng.choice([0, 32768, 58982, 65536]))
        asks.append(Ask(codes, np.zeros(len(codes), bool), gamma, 0, 78))
    inputs, outputs = selector_words(CoverageSelector(candidates=78), asks)
    words = {"start": inputs["start"]}
    words["call"] = pack(
        unit.call.payload.shape(),
        keys=1,
        queries=1,
        plays=1,
        mantissa=[x.mantissa for x in calls],
        shift=[x.shift for x in calls],
    )
    for of, heads in sent.items():
        rows = np.concatenate([x.reshape(-1, 4) for x in heads])
        words[f"i_{of}"] = pack(unit.i_k.payload.shape(), row=rows, last=np.arange(len(rows)) % 2)
        words[f"call_{of}"] = pack(
            unit.call_k.payload.shape(), tokens=[len(x) for x in heads], filled=0
        )
    stall = {x: FREE if name == "free" else Stall(0.4, seed=n) for n, x in enumerate(words)}
    bench = Testbench(
        {x: Stimulus(words[x], stall[x]) for x in words},
        {x: Expectation(outputs[x]) for x in outputs},
        max_cycles=50_000,
    )
    check(emitted(unit), bench)
