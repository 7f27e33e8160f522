"""Calls whose outputs overlap something are refused, and no others."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.overlap import OverlapCheck
from qkloom.tb.simulate import simulate, to_bits

HEADS, TOKENS, TILES = 15, 112, 7  # blocks of a head: 7, too
SHAPE = {"heads": HEADS, "tokens": TOKENS, "head_dim": TILES * 8, "size": 8, "block": 16}
CHANNELS = {"q": 1, "k": 2, "v": 1, "o": 2}
CHECK = {"channels": tuple(CHANNELS.items()), **SHAPE}
BEAT = 32
"""Bytes: places are multiples of it."""


def random_task(rng, gemm, sparse=False, index=False):
    """Return a call whose tensors are far apart, but for one next to an output, or over its end."""
    kv_heads = rng.choice([HEADS, rng.randint(1, HEADS)])
    call = {
        "kv_heads": kv_heads,
        "group": rng.randint(1, HEADS // kv_heads),
        "n_q": rng.choice([TOKENS, rng.randint(1, TOKENS)]),
        "n_kv": rng.choice([TOKENS, rng.randint(1, TOKENS)]),
        "q_start": 0,
        "causal": 0,
        "d_tiles": rng.randint(1, TILES),
        "planes": 8,
    }
    if gemm:  # a product has no values, and its outputs are bytes
        call |= {"gemm": rng.randrange(2), "chunks": rng.randint(1, HEADS)}
    if index:
        call["selects"] = int(not call.get("gemm") and rng.randrange(3) > 0)
        if call["selects"]:
            call["n_q"] = rng.randint(1, 16)
    paged = 0 if call.get("gemm") else rng.randrange(2)
    others = call.get("gemm") or call.get("selects")
    rows = int(sparse and not others and rng.randrange(2))
    sizes = sizes_of(call, paged, rows if sparse else None)
    # Around the ends of lower halves of an address
    places = {
        (name, k): (rng.randint(1, (1 << 32) - 1) << 32) - BEAT * rng.randrange(1 << 11)
        for name in sizes
        for k in range(CHANNELS.get(name, 1))
    }
    output = ("o", rng.randrange(CHANNELS["o"]))
    if call.get("selects"):
        output = (rng.choice(["selection", "verdicts"]), 0)
    other = rng.choice([place for place in places if place != output])
    first, second = rng.sample([output, other], 2)
    beats = -(-sizes[first[0]] // BEAT) - rng.randrange(2)
    places[second] = places[first] + BEAT * beats
    pointers = {name: [places[name, k] for k in range(n)] for name, n in CHANNELS.items()}
    of_tables = {name: places[name, 0] for name in sizes if name not in CHANNELS}
    of_selection = {"sparse": rows} if sparse else {}
    if index:
        rule = dict.fromkeys(("gamma", "limit", "least", "most"), 1)
        of_selection |= {"heads": kv_heads * call["group"], "rule": rule}
    return {"call": call, **pointers, **of_tables, "paged": paged, **of_selection}


def sizes_of(call, paged, rows=None):
    """Return the bytes of each part of a tensor, and of the tables."""
    heads = call["kv_heads"] * call["group"]
    q_blocks, kv_blocks = (-(-call[name] // 16) for name in ("n_q", "n_kv"))
    blocks = {"q": heads * q_blocks, "k": call["kv_heads"] * kv_blocks}
    blocks |= {"v": blocks["k"], "o": blocks["q"]}
    table = 4 * blocks["k"] if paged else 0
    if call.get("gemm"):
        blocks |= {"q": call["chunks"] * q_blocks, "k": call["chunks"] * kv_blocks, "v": 0}
    if paged:  # they are wherever the table says
        blocks |= {"k": 0, "v": 0}
    if call.get("selects"):  # values are all queries
        blocks |= {"v": heads * kv_blocks, "o": 0}
    sizes = {name: -(-blocks[name] // n) * 16 * 8 * call["d_tiles"] for name, n in CHANNELS.items()}
    if not call.get("gemm"):
        sizes["o"] *= 4
    # Seven blocks of keys are a byte: a row is a beat.
    selection = {} if rows is None else {"selection": rows * heads * q_blocks * BEAT}
    if call.get("selects"):
        selection["selection"] = heads * kv_blocks * BEAT
    verdicts = {"verdicts": call["selects"] * heads * BEAT} if "selects" in call else {}
    return {**sizes, "factors": 8 * heads, "table": table, **selection, **verdicts}


def overlaps(task):
    """Tell it from ranges of bytes, as a host would."""
    ranges, outputs = [], []
    for name, size in sizes_of(task["call"], task["paged"], task.get("sparse")).items():
        places = task[name] if name in CHANNELS else [task[name]]
        if size:
            written = ("selection", "verdicts") if task["call"].get("selects") else ("o",)
            (outputs if name in written else ranges).extend(range(at, at + size) for at in places)
    pairs = [(a, b) for k, a in enumerate(outputs) for b in [*outputs[k + 1 :], *ranges]]
    return any(a.start < b.stop and b.start < a.stop for a, b in pairs)


@pytest.mark.parametrize(
    ("gemm", "sparse", "index"),
    [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (True, True, False),
        (False, True, True),
        (True, True, True),
    ],
)
@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_random_calls(pace, gemm, sparse, index):
    rng = random.Random(pace)
    tasks = [random_task(rng, gemm, sparse, index) for _ in range(200)]
    refused = [overlaps(task) for task in tasks]
    assert 40 < sum(refused) < 160
    dut = OverlapCheck(**CHECK, gemm=gemm, sparse=sparse, index_tokens=TOKENS * index)
    bits = [to_bits(dut.i.payload.shape(), task) for task in tasks]
    log = simulate(
        dut,
        inputs={"i": bits},
        outputs=["o", "refused"],
        cycles=100_000,
        idle=500,
        pace=dict.fromkeys(["i", "o", "refused"], pace),
    )
    assert log["o"].items == [b for b, no in zip(bits, refused, strict=True) if not no]
    assert log["refused"].items == [Code.OVERLAP] * sum(refused)


def test_errors():
    with pytest.raises(ValueError, match=r"^Heads must be a positive integer, not 0$"):
        OverlapCheck(**{**CHECK, "heads": 0})


def test_emits():
    emit(OverlapCheck(**CHECK, gemm=True, sparse=True, index_tokens=TOKENS), verilog=True)
