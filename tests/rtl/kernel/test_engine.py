"""Attention from memory to memory, against the exact model, with a memory of random manners."""

import numpy as np
import pytest

from qkloom.gen.call import prepare
from qkloom.gen.chip import read_chip
from qkloom.rtl.kernel.engine import Engine, check_channels
from qkloom.tb.axi.random_memory import RandomMemory
from qkloom.tb.kernel.image import factor_table, from_channels, n_bytes, to_channels
from qkloom.tb.simulate import simulate, to_bits

CHIP = read_chip("u280-tiny").replace(lanes=[{"matrix": "plain", "n": 2}])
TWO = (("q", (0,)), ("k", (0,)), ("v", (1,)), ("o", (1,)))
FOUR = (("q", (3,)), ("k", (0, 1)), ("v", (2, 3)), ("o", (0, 1, 2, 3)))


def run_engine(channels, calls, *, seed, data_width=256, pace=0.7, latency=(1, 40)):
    """Run calls (prepared, table of blocks or None); return outputs, memory, log."""
    engine = Engine(
        lanes=CHIP.matrices,
        **CHIP.lane_parameters,
        heads=8,
        channels=channels,
        data_width=data_width,
    )
    memory = RandomMemory(beat_bytes=data_width // 8, seed=seed, latency=latency, pace=pace)
    n = {name: len(numbers) for name, numbers in channels}
    block, address = CHIP.block, 0

    def place(content, size=None):
        nonlocal address
        start = address
        memory.bytes.update({start + k: int(byte) for k, byte in enumerate(content)})
        address += (1 + (size or len(content)) // 4096) * 4096 + 64
        return start

    tasks, wanted = [], []
    for prepared, places in calls:
        call = prepared.call
        heads, n_q, head_dim = call.q.shape
        pointers = {}
        for name, x in (("q", call.q), ("k", call.k), ("v", call.v)):
            table = None if name == "q" else places
            parts = to_channels(x, block=block, n_channels=n[name], places=table)
            pointers[name] = [place(part) for part in parts]
        shape = {"heads": heads, "tokens": n_q, "head_dim": head_dim, "block": block}
        sizes = n_bytes(**shape, n_channels=n["o"], width=32)
        pointers["o"] = [place(b"", size) for size in sizes]
        task = {
            "call": {
                "kv_heads": len(call.k),
                "group": call.group,
                "n_q": n_q,
                "n_kv": call.k.shape[1],
                "q_start": call.q_start,
                "causal": int(call.causal),
                "d_tiles": head_dim // CHIP.size,
                "planes": 8,
            },
            **pointers,
            "factors": place(factor_table(call.mantissa, call.shift)),
            "table": place(b"" if places is None else places.astype("<u4").tobytes()),
            "paged": int(places is not None),
        }
        tasks.append(to_bits(engine.i.payload.shape(), task))
        wanted.append((pointers["o"], sizes, shape, prepared))
    before = dict(memory.bytes)
    processes = []
    for name in engine.signature.members:
        if name.startswith("read_"):
            processes.append(memory.reader(_ReadOnly(engine, name)))
        if name.startswith("write_"):
            processes.append(memory.writer(getattr(engine, name)))
    log = simulate(
        engine,
        inputs={"i": tasks},
        outputs=[],
        cycles=400_000,
        idle=6_000,
        watched=[name for name in ("read_0__ar", "write_1__w") if hasattr(engine, name[:-4])],
        beside=processes,
    )
    assert memory.broken == []
    assert len(log["i"].items) == len(tasks)
    for at, sizes, shape, prepared in wanted:
        parts = [
            np.array([memory.bytes.pop(start + k, 0) for k in range(size)], np.uint8)
            for start, size in zip(at, sizes, strict=True)
        ]
        call = prepared.call
        got = from_channels(parts, **shape)[..., : prepared.expected.shape[-1]]
        assert (got == prepared.expected.reshape(got.shape)).all()
    assert memory.bytes == before  # nothing was written anywhere else
    return memory, log


class _ReadOnly:
    def __init__(self, engine, name):
        self.ar, self.r = getattr(engine, name).ar, getattr(engine, name).r


def call_of(rng, heads, kv_heads, n_q, n_kv, head_dim, **options):
    q = rng.normal(size=(heads, n_q, head_dim))
    k, v = rng.normal(size=(2, kv_heads, n_kv, head_dim))
    return prepare(CHIP, q, k, v, **options)


@pytest.mark.parametrize(
    ("channels", "shape", "options"),
    [
        (TWO, (2, 2, 20, 24, 16), {}),
        (TWO, (4, 2, 20, 37, 16), {"causal": True, "q_start": 17}),
        (FOUR, (3, 1, 33, 50, 8), {"causal": True, "q_start": -5}),
    ],
)
def test_attention(channels, shape, options):
    rng = np.random.default_rng(len(channels) + shape[2])
    run_engine(channels, [(call_of(rng, *shape, **options), None)], seed=shape[2])


def test_calls_and_block_tables():
    rng = np.random.default_rng(7)
    first = call_of(rng, 2, 2, 20, 40, 16)
    paged = call_of(rng, 2, 2, 5, 40, 32, causal=True, q_start=35)
    places = rng.permutation(11)[:6]
    run_engine(FOUR, [(first, None), (paged, places), (first, places)], seed=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": (0, 1, 2)}, r"^Number of channels of q must be a power of two, not 3$"),
        ({"k": (1, 1)}, r"^Channels of k must differ, and start from 0, not \(1, 1\)$"),
        ({"v": ()}, r"^Number of channels of v must be a positive integer, not 0$"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        check_channels(tuple({**dict(TWO), **change}.items()))
    with pytest.raises(ValueError, match=r"^Channels must be of q, k, v and o, in this order"):
        check_channels(TWO[:3])
