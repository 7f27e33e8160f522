import itertools
import re

import pytest
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.rtl.adder import TernaryAdder


def play(adder, inputs):
    seen = []

    async def drive(ctx):
        for words, subtract in inputs:
            width = adder.parameters["width"]
            ctx.set(adder.i, sum(word << k * width for k, word in enumerate(words)))
            if adder.parameters["subtracts"]:
                ctx.set(adder.i_subtract, subtract)
            seen.append(ctx.get(adder.o))

    simulator = Simulator(adder)
    simulator.add_testbench(drive)
    simulator.run()
    return seen


class TestConstructor:
    def test_attributes(self):
        assert TernaryAdder(width=4).signature == Signature({"i": In(12), "o": Out(4)})
        assert TernaryAdder(width=4, n=2, subtracts=True).signature == Signature(
            {"i": In(8), "o": Out(4), "i_subtract": In(1)}
        )

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"width": 0}, ValueError, "Width must be a positive integer, not 0"),
            ({"n": 4}, ValueError, "Number of words must be at most 3, not 4"),
            ({"constant": 3}, ValueError, "The constant beside three words must be 0 to 2, not 3"),
            (
                {"constant": -1},
                ValueError,
                "The constant beside three words must be 0 to 2, not -1",
            ),
            (
                {"constant": 2, "subtracts": True},
                ValueError,
                "The constant beside three words must be 0 to 1, not 2",
            ),
            (
                {"n": 2, "constant": 1, "subtracts": True},
                ValueError,
                "The constant beside a subtracted word must be 0, not 1",
            ),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            TernaryAdder(**{"width": 4, **changes})


@pytest.mark.parametrize(
    ("n", "constant", "subtracts"),
    [
        *((3, constant, False) for constant in (0, 1, 2)),
        *((3, constant, True) for constant in (0, 1)),
        *((n, constant, False) for n in (1, 2) for constant in (0, 1, 7)),
        *((n, 0, True) for n in (1, 2)),
    ],
)
def test_exhaustive(n, constant, subtracts):
    width = 3
    adder = TernaryAdder(width=width, n=n, constant=constant, subtracts=subtracts)
    words = itertools.product(range(1 << width), repeat=n)
    inputs = list(itertools.product(words, range(1 + subtracts)))
    expected = [
        (sum(words[:-1]) + (-words[-1] if subtract else words[-1]) + constant) % (1 << width)
        for words, subtract in inputs
    ]
    assert play(adder, inputs) == expected
