"""Queries for the Forecast unit, as testbenches: what goes in, and what the exact model answers."""

import numpy as np
from amaranth.hdl import Value

from qkloom.tb.index.forecast_exact import Query, pack_lists, select_exactly
from qkloom.tb.simulate import to_bits
from qkloom.tb.stalls import FREE
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

__all__ = ["bench", "draw"]


def bench(unit, queries, stalls=None, **options):
    """Return the testbench of queries one after the other."""
    stalls = stalls or {}
    sizes = {name: unit.parameters[name] for name in ("k_max", "blocks", "head_dim")}
    width = unit.parameters["width"]
    answers = [select_exactly(query, **sizes) for query in queries]
    sent = {
        "query": [
            {
                "windows": len(q.keys),
                "position": q.position,
                "k": q.k,
                "init": q.init,
                "local": q.local,
                "beats": q.keys.shape[1] // width,
            }
            for q in queries
        ],
        "resident": pack_lists(q.resident for q in queries),
    }
    expected = {
        "result": [answer.flags for answer in answers],
        "chosen": pack_lists(answer.chosen for answer in answers),
        "load": pack_lists(answer.load for answer in answers),
        "evict": pack_lists(answer.evict for answer in answers),
    }

    def words(name, items):
        payload = getattr(unit, name).payload
        return rows_of([to_bits(payload.shape(), item) for item in items], payload)

    rows = {name: words(name, items) for name, items in sent.items()}
    rows["vector"] = beats_of([q.vector for q in queries], width)
    rows["keys"] = beats_of([q.keys for q in queries], width)
    return Testbench(
        inputs={name: Stimulus(x, stalls.get(name, FREE)) for name, x in rows.items()},
        outputs={
            name: Expectation(words(name, items), stalls.get(name, FREE))
            for name, items in expected.items()
        },
        max_cycles=20_000 + 40 * sum(map(len, rows.values())),
        **options,
    )


def beats_of(vectors, width):
    """Return the words of int8 vectors, in beats of ``width``, a multiple of 4."""
    beats = np.concatenate([np.asarray(x, np.int8).reshape(-1, width) for x in vectors])
    return np.ascontiguousarray(beats).view(np.uint32)


def rows_of(values, payload):
    """Return the words of payloads, as an engine takes them."""
    n = -(-len(Value.cast(payload)) // 32)
    rows = [[x >> 32 * k & (1 << 32) - 1 for k in range(n)] for x in values]
    return np.array(rows, np.uint32).reshape(-1, n)


def draw(rng, *, k_max, blocks, head_dim, width, refused=True):
    """Return a random query; some of them are refused."""
    span = rng.choice([1, 2, 128])
    elements = width * rng.integers(1, head_dim // width + 1)
    windows = int(rng.choice([0, 1, 3, rng.integers(0, 4 * blocks + 1), 4 * blocks]))
    tokens = int(rng.choice([max(16 * windows, 1), 64 * blocks, rng.integers(1, 64 * blocks + 1)]))
    position = int(rng.integers(max(tokens - 64, 0), tokens))
    k = int(rng.integers(1, k_max + 1))
    init = int(rng.integers(0, k))
    local = int(rng.integers(0, k - init))
    if refused and rng.random() < 0.2:
        kind = rng.integers(0, 5)
        k = k_max + 1 if kind == 0 else init + local if kind == 1 else k
        position = 64 * blocks if kind == 2 else position
        windows = 4 * blocks + 1 if kind == 3 else windows
        elements = head_dim + width if kind == 4 else elements
    full = rng.choice([-128, 127, 0], p=[0.5, 0.25, 0.25])
    keys = rng.integers(-span, span, (windows, elements))
    vector = rng.integers(-128, 128, elements)
    if rng.random() < 0.2:
        keys[:], vector[:] = full, 127
    there = np.flatnonzero(rng.random(blocks) < rng.choice([0, 0.2, 0.8, 1])).tolist()
    return Query(vector, keys, position, k, init, local, tuple(there))
