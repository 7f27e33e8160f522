"""The divergence of a head, bit for bit as its model, and near the one of real numbers."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.divergence import Divergence
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.index.divergence import distance, divergence, foretold
from qkloom.tb.index.pool import divergence_of
from qkloom.tb.simulate import simulate, to_bits

NUMBERS = IndexNumerics(lane=Numerics(size=4, head_dim=64, tokens=8192), block=128, tokens=8192)
PARAMETERS = {
    "blocks": 64,
    "mass_width": NUMBERS.mass_width,
    "mean_width": NUMBERS.mean_width,
    "mean_fraction": NUMBERS.mean_fraction,
    "fraction": NUMBERS.lane.fraction,
}


def head(rng, n, *, peak=4.0, agree=1.0):
    """Return masses, means and factor of a head; masses agree with means, or less so."""
    mantissa, shift = int(rng.integers(1 << 16, 1 << 17)), int(rng.integers(12, 18))
    factor = mantissa / 2**shift / 2**NUMBERS.lane.fraction
    x = rng.normal(0, peak, n)
    limit = (1 << NUMBERS.mean_width - 1) - 1
    mean = np.clip(np.rint(x / factor * 2**NUMBERS.mean_fraction), -limit, limit).astype(int)
    p = 2.0 ** (x + rng.normal(0, 1 - agree, n))
    vertical = np.floor(p / p.sum() * 128 * 2**NUMBERS.mass_fraction).astype(np.int64)
    return vertical, mean, mantissa, shift


def run(heads, **options):
    """Return the divergences that the unit finds, and the log."""
    dut = Divergence(**PARAMETERS)
    shape = dut.i.payload.shape()
    items = [
        {
            "vertical": int(vertical[b]),
            "mean": int(mean[b]),
            "last": int(b == len(mean) - 1),
            "mantissa": mantissa,
            "shift": shift,
        }
        for vertical, mean, mantissa, shift in heads
        for b in range(len(mean))
    ]
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in items]},
        outputs=["o"],
        cycles=100_000,
        idle=600,
        **options,
    )
    return log["o"].items, log


@pytest.mark.parametrize("seed", range(4))
def test_heads_under_stalls(seed):
    rng = np.random.default_rng(seed)
    heads = [
        head(rng, int(rng.choice([1, 2, 3, 31, 64])), peak=rng.choice([0.01, 1, 6]), agree=a)
        for a in (1.0, 0.9, 0.5, -2.0, 1.0, 0.97)
    ]
    found, _ = run(heads, pace={"i": 0.5, "o": 0.3}, seed=seed)
    assert found == [divergence(*one, NUMBERS) for one in heads]


def test_a_block_has_everything():
    vertical = np.zeros(10, np.int64)
    vertical[3] = 128 << 24
    mean = np.full(10, -(1 << 20))
    mean[7] = 1 << 20
    heads = [(vertical, mean, 1 << 16, 12), (vertical, np.roll(mean, -4), 1 << 16, 12)]
    found, _ = run(heads)
    assert found == [divergence(*one, NUMBERS) for one in heads]
    one = 1 << IndexNumerics.divergence_fraction
    assert abs(found[0] - 2 * one) < one >> 14  # nothing in common
    assert found[1] < one >> 14  # 0 log 0 adds nothing


@pytest.mark.parametrize("shift", [56, 57, 58, 63])
def test_factors_that_leave_nothing(shift):
    vertical, mean, mantissa, _ = head(np.random.default_rng(shift), 12)
    found, _ = run([(vertical, mean << 3, mantissa, shift)])
    assert found == [divergence(vertical, mean << 3, mantissa, shift, NUMBERS)]


@pytest.mark.parametrize("peak", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("agree", [1.0, 0.95, 0.8, 0.0])
def test_the_error_is_as_stated(peak, agree):
    rng = np.random.default_rng(int(10 * peak + 100 * agree))
    for n in (2, 32, 1000):
        vertical, mean, mantissa, shift = head(rng, n, peak=peak, agree=agree)
        x = mean * (mantissa / 2**shift / 2**NUMBERS.lane.fraction / 2**NUMBERS.mean_fraction)
        p = 2.0 ** (x - x.max())
        true = divergence_of(p / p.sum(), vertical / vertical.sum(), "zero")
        found = distance(divergence(vertical, mean, mantissa, shift, NUMBERS))
        assert abs(found - true) < (2e-4 if true > 0.02 else 4e-3)
        powers = foretold(mean, mantissa, shift, NUMBERS)
        assert powers.max() == 1 << IndexNumerics.exp_fraction


def test_cycles():
    _, log = run([head(np.random.default_rng(0), 64)])
    assert log["o"].cycles[0] - log["i"].cycles[0] <= 3 * 64 + 110


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 0}, "Blocks must be a positive integer, not 0"),
        ({"mass_width": 33}, "Mass width must be at most 32, not 33"),
        ({"mean_width": 28}, "Mean width must be at most 27, not 28"),
        ({"fraction": 13}, "Fraction must be at most 12, not 13"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Divergence(**(PARAMETERS | changes))


def test_it_converts():
    emit(Divergence(**PARAMETERS))
