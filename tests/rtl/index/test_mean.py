"""Quotients, rounded down."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.mean import Mean
from qkloom.tb.simulate import from_bits, simulate, to_bits

PARAMETERS = {"sum_width": 20, "count_width": 7, "fraction": 3, "mean_width": 23}


@pytest.mark.parametrize("pace", [1, 0.4])
def test_quotients(pace):
    rng = np.random.default_rng(1)
    sums = [0, 1, -1, 524287, -524288, *rng.integers(-(1 << 19), 1 << 19, 60).tolist()]
    counts = [1, 127, 3, 1, 1, *rng.integers(1, 128, 60).tolist()]
    dut = Mean(**PARAMETERS)
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={
            "i": [
                to_bits(shape, {"sum": total, "count": count})
                for total, count in zip(sums, counts, strict=True)
            ]
        },
        outputs=["o"],
        cycles=5000,
        idle=60,
        pace={"i": pace, "o": pace},
    )
    expected = [total * 8 // count for total, count in zip(sums, counts, strict=True)]
    found = [from_bits(dut.o.payload.shape(), item) for item in log["o"].items]
    assert found == expected
    if pace == 1:
        assert max(np.diff(log["o"].cycles)) <= 23 + 2


def test_means_that_are_narrower_than_sums():
    rng = np.random.default_rng(2)
    means = [127, -128, 0, *rng.integers(-128, 128, 40).tolist()]
    counts = [127, 127, 1, *rng.integers(1, 128, 40).tolist()]
    dut = Mean(**(PARAMETERS | {"mean_width": 11}))
    shape = dut.i.payload.shape()
    pairs = [
        {"sum": mean * count, "count": count} for mean, count in zip(means, counts, strict=True)
    ]
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, pair) for pair in pairs]},
        outputs=["o"],
        cycles=5000,
        idle=60,
    )
    found = [from_bits(dut.o.payload.shape(), item) for item in log["o"].items]
    assert found == [8 * mean for mean in means]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sum_width": 0}, "Sum width must be a positive integer, not 0"),
        ({"mean_width": 24}, "Mean width must be at most 23, not 24"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Mean(**(PARAMETERS | changes))


def test_it_converts():
    emit(Mean(**PARAMETERS))
