"""Verdicts and results become a record of each head."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.record import HeadRecord
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"blocks": 64, "count_width": 12}


@pytest.mark.parametrize("pace", [1, 0.3])
def test_random_heads(pace):
    rng = random.Random(pace)
    dut = HeadRecord(**SHAPE)
    verdicts, results, wanted = [], [], []
    for _ in range(30):
        aware, divergence = rng.randrange(2), rng.getrandbits(31)
        verdicts.append({"blocks": 37, "is_aware": aware, "divergence": divergence})
        kinds = [
            {"count": rng.getrandbits(12), "mass": 1, "total": 2, "flat": rng.randrange(2)}
            for _ in range(2 + aware)
        ]
        results += kinds
        flags = aware | sum(kind["flat"] << 1 + k for k, kind in enumerate(kinds))
        counts = [kind["count"] for kind in kinds] + [0] * (1 - aware)
        wanted.append([flags, divergence, *counts, 37, 0, 0])
    names = ("verdict", "result")
    items = dict(zip(names, (verdicts, results), strict=True))
    logs = simulate(
        dut,
        inputs={
            name: [to_bits(getattr(dut, name).payload.shape(), x) for x in items[name]]
            for name in names
        },
        outputs=["aware", "o"],
        cycles=5000,
        idle=100,
        pace=dict.fromkeys((*names, "aware", "o"), pace),
    )
    got = [from_bits(dut.o.payload.shape(), bits)["words"] for bits in logs["o"].items]
    assert got == wanted
    told = [from_bits(dut.aware.payload.shape(), bits) for bits in logs["aware"].items]
    assert told == [{name: v[name] for name in ("blocks", "is_aware")} for v in verdicts]


def test_emits():
    emit(HeadRecord(**SHAPE), verilog=True)
