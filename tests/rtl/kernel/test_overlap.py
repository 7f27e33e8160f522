"""Calls whose outputs overlap something are refused, and no others."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.overlap import OverlapCheck
from qkloom.tb.simulate import simulate, to_bits

SHAPE = {"heads": 8, "tokens": 64, "head_dim": 32, "size": 8, "block": 16}
CHANNELS = {"q": 1, "k": 2, "v": 1, "o": 2}
CHECK = {"channels": tuple(CHANNELS.items()), **SHAPE}
NEAR = 0xFFFF_C000  # places lie around the end of the lower half of an address


def random_task(rng, gemm):
    call = {
        "kv_heads": rng.randint(1, 2),
        "group": rng.randint(1, 4),
        "n_q": rng.randint(1, 64),
        "n_kv": rng.randint(1, 64),
        "q_start": 0,
        "causal": 0,
        "d_tiles": rng.randint(1, 4),
        "planes": 8,
    }
    if gemm:  # a product has no values, and its outputs are bytes
        call |= {"gemm": rng.randrange(2), "chunks": rng.randint(1, 8)}
    place = lambda: NEAR + 64 * rng.randrange(0, 4096)  # noqa: E731
    pointers = {name: [place() for _ in range(n)] for name, n in CHANNELS.items()}
    if rng.randrange(2):  # one right behind another, or a beat less
        heads = call["kv_heads"] * call["group"]
        heads = call["chunks"] if call.get("gemm") else heads
        size = heads * -(-call["n_q"] // 16) * 16 * 8 * call["d_tiles"]
        pointers["o"][0] = pointers["q"][0] + size - 32 * rng.randrange(2)
    return {
        "call": call,
        **pointers,
        "factors": place(),
        "table": place(),
        "paged": 0 if call.get("gemm") else rng.randrange(2),
    }


def overlaps(task):
    """Tell it from ranges of bytes, as a host would."""
    call = task["call"]
    heads = call["kv_heads"] * call["group"]
    blocks = {"q": heads * -(-call["n_q"] // 16), "k": call["kv_heads"] * -(-call["n_kv"] // 16)}
    blocks |= {"v": blocks["k"], "o": blocks["q"]}
    if call.get("gemm"):
        blocks["q"] = call["chunks"] * -(-call["n_q"] // 16)
        blocks |= {"k": call["chunks"] * -(-call["n_kv"] // 16), "v": 0}
    ranges, outputs = [], []
    for name, n in CHANNELS.items():
        if task["paged"] and name in "kv":
            continue  # they are wherever the table says
        width = 4 if name == "o" and not call.get("gemm") else 1
        size = -(-blocks[name] // n) * 16 * 8 * call["d_tiles"] * width
        found = [range(at, at + size) for at in task[name]]
        (outputs if name == "o" else ranges).extend(found)
    ranges.append(range(task["factors"], task["factors"] + 8 * heads))
    if task["paged"]:
        ranges.append(range(task["table"], task["table"] + 4 * blocks["k"]))
    pairs = [(a, b) for k, a in enumerate(outputs) for b in [*outputs[k + 1 :], *ranges]]
    return any(a.start < b.stop and b.start < a.stop for a, b in pairs)


@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_random_calls(pace, gemm):
    rng = random.Random(pace)
    tasks = [random_task(rng, gemm) for _ in range(200)]
    refused = [overlaps(task) for task in tasks]
    assert 40 < sum(refused) < 160
    dut = OverlapCheck(**CHECK, gemm=gemm)
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
    emit(OverlapCheck(**CHECK, gemm=True), verilog=True)
