"""Codes are stored, and played as often as they are asked for."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.candidates import CandidateStore
from qkloom.tb.simulate import from_bits, simulate, to_bits

PARAMETERS = {"candidates": 20, "code_width": 6, "passes": 3}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("pace", [1, 0.5])
@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_played_again_and_again(n, backwards, pace):
    dut = CandidateStore(**PARAMETERS, backwards=backwards)
    codes = np.random.default_rng(n).integers(0, 64, n).tolist()
    shape = dut.i.payload.shape()

    def beside_play(cycle):
        return cycle > n + 3

    log = simulate(
        dut,
        inputs={
            "i": [to_bits(shape, {"code": c, "last": i == n - 1}) for i, c in enumerate(codes)],
            "play": [0, 0],
        },
        outputs=["o"],
        cycles=2000,
        idle=20 + n,
        pace={"o": pace, "play": beside_play},
    )
    once = codes[::-1] if backwards else codes
    expected = [
        {"code": code, "always": int(i == 0), "last": int(i == n - 1)}
        for i, code in enumerate(once)
    ] * 6
    assert [from_bits(dut.o.payload.shape(), item) for item in log["o"].items] == expected
    if pace == 1:
        cycles = log["o"].cycles
        assert cycles[3 * n - 1] - cycles[0] == 3 * n - 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 0}, "Number of candidates must be a positive integer, not 0"),
        ({"code_width": 0}, "Code width must be a positive integer, not 0"),
        ({"passes": 0}, "Passes must be a positive integer, not 0"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CandidateStore(**(PARAMETERS | changes))


def test_it_converts():
    emit(CandidateStore(**PARAMETERS))
