"""Diagonals are complete block by block."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.diagonal import Diagonals
from qkloom.tb.simulate import from_bits, simulate, to_bits


@pytest.mark.parametrize("distance", [3, 7])
def test_parts_meet(distance):
    rng = np.random.default_rng(distance)
    dut = Diagonals(width=12)
    sent, expected = [], []
    for n in (1, 2, 5, 9):
        above, level, below = rng.integers(0, 1000, (3, n))
        slash = np.zeros(n + 2, np.int64)  # of diagonals n - 1 - b
        for b in range(n):
            slash[b] += above[b]
            slash[b + 1] += level[b]
            slash[b + 2] += below[b]
            every = int(above[b] + level[b] + below[b])
            parts = {"above": int(above[b]), "below": int(below[b])}
            sent.append({"all": every, **parts, "first": int(b == 0)})
            expected.append({"vertical": every, "slash": int(slash[b])})
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in sent]},
        outputs=["o"],
        cycles=500,
        pace={"i": lambda cycle: float(cycle % distance == 0)},
    )
    found = [from_bits(dut.o.payload.shape(), item) for item in log["o"].items]
    assert found == expected


def test_width_out_of_range():
    with pytest.raises(
        ValueError, match=f"^{re.escape('Width must be a positive integer, not 0')}$"
    ):
        Diagonals(width=0)


def test_it_converts():
    emit(Diagonals(width=32))
