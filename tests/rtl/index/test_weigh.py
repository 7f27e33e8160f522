"""Rows of a block, each in units of all it has."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.weigh import Weigher
from qkloom.tb.simulate import from_bits, simulate, to_bits

PARAMETERS = {"rows": 4, "partial_width": 22, "fraction": 20, "mass_width": 26}


def word(rng):
    """Return some rows of a block, and what they add."""
    rows, sums = {"partials": [], "states": []}, np.zeros(3, np.int64)
    present = int(rng.integers(1, 16))
    for i in range(4):
        every = int(rng.integers(0, 1 << 22))
        far = int(rng.integers(0, every + 1))
        maximum = int(rng.integers(-1000, 1000))
        fall = int(rng.choice([0, 1, 3, 17, 900]))
        e, r = int(rng.integers(21, 30)), int(rng.integers(1 << 16, 1 << 17))
        carry = int(rng.integers(2))
        rows["partials"].append({"maximum": maximum - fall, "all": every, "far": far})
        rows["states"].append({"maximum": maximum, "e": e, "r": r, "carry": carry})
        amount = min(e + 17 - 20 + fall, 63)
        every, far = every * r >> amount, far * r >> amount
        if present >> i & 1:
            sums += [every, far if carry else 0, 0 if carry else every - far]
    return rows | {"present": present}, sums


@pytest.mark.parametrize("pace", [1, 0.5])
def test_blocks(pace):
    rng = np.random.default_rng(1)
    dut = Weigher(**PARAMETERS)
    sent, expected = [], []
    for _ in range(40):
        total = np.zeros(3, np.int64)
        n = int(rng.integers(1, 6))
        for i in range(n):
            rows, sums = word(rng)
            sent.append(rows | {"first": int(i == 0), "last": int(i == n - 1)})
            total += sums
        names = ("all", "above", "below")
        expected.append({k: int(v) for k, v in zip(names, total, strict=True)})
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in sent]},
        outputs=["o"],
        cycles=2000,
        idle=40,
        pace={"i": pace},
    )
    assert [from_bits(dut.o.payload.shape(), item) for item in log["o"].items] == expected
    assert log["o"].cycles[-1] - log["i"].cycles[-1] == dut.latency


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "Rows must be a positive integer, not 0"),
        ({"partial_width": 27}, "Partial width must be at most 26, not 27"),
        ({"mass_width": 22}, "Mass width must be above 22, not 22"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Weigher(**(PARAMETERS | changes))


def test_it_converts():
    emit(Weigher(**PARAMETERS))
