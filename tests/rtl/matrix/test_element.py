"""Elements multiply and add as integers do, and take a new weight or fold exactly when told."""

import random
from contextlib import suppress

import pytest
from amaranth.hdl import Shape
from amaranth.sim import BrokenTrigger, Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.element import (
    MULTIPLIERS,
    OutputElement,
    StationaryElement,
    output_token,
    stationary_token,
)


def run(dut, words):
    """Return ``o_sum`` in the cycle after each of ``words``: values of the inputs, by name."""
    found = []

    async def bench(ctx):
        for word in words:
            for name, value in word.items():
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            found.append(ctx.get(dut.o_sum))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with suppress(BrokenTrigger):
        simulator.run()
    return found


@pytest.mark.parametrize(("operand", "weight"), [(9, 8), (4, 4), (1, 1)])
def test_stationary(operand, weight):
    rng = random.Random(operand)
    words, expected = [], []
    shadow = active = 0
    for _ in range(300):
        load, swap = rng.random() < 0.3, rng.random() < 0.3
        word = {
            "i": {
                "operand": rng.randrange(-(1 << operand - 1), 1 << operand - 1),
                "swap": swap,
                "load": load,
            },
            "i_weight": rng.randrange(-(1 << weight - 1), 1 << weight - 1),
            "i_sum": rng.randrange(-(1 << 23), 1 << 23),
        }
        words.append(word)
        expected.append(word["i_sum"] + word["i"]["operand"] * active)
        # A weight swapped in counts from the next cycle on; one loaded now is swapped in later.
        active, shadow = shadow if swap else active, word["i_weight"] if load else shadow
    dut = StationaryElement(operand_width=operand, weight_width=weight, sum_width=32)
    assert run(dut, words) == expected


def test_stationary_extremes():
    weight = {"i": {"operand": 0, "swap": 0, "load": 1}, "i_weight": -128, "i_sum": 0}
    swap = {"i": {"operand": 0, "swap": 1, "load": 0}, "i_weight": 0, "i_sum": 0}
    last = {"i": {"operand": -256, "swap": 0, "load": 0}, "i_weight": 0, "i_sum": -32768}
    assert run(StationaryElement(sum_width=17), [weight, swap, last]) == [0, 0, 0]


@pytest.mark.parametrize(("a", "b"), [(I8, I8), (U8, I8), (I4, U8)])
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_output(a, b, multiplier):
    rng = random.Random(3)
    words, expected = [], []
    total = 0
    for n in range(300):
        word = {
            "i": {
                "operand": rng.randint(a.min_raw, a.max_raw),
                "valid": n == 0 or rng.random() < 0.7,
                "first": n == 0 or rng.random() < 0.2,
                "last": rng.random() < 0.2,
            },
            "i_b": rng.randint(b.min_raw, b.max_raw),
        }
        words.append(word)
        if word["i"]["valid"]:
            total = (0 if word["i"]["first"] else total) + word["i"]["operand"] * word["i_b"]
        expected.append(total)
    cycles = MULTIPLIERS[multiplier]
    found = run(OutputElement(a=a, b=b, sum_width=32, multiplier=multiplier), words)
    assert found[cycles - 1 :] == expected[: len(words) - cycles + 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multiplier": "dsp"}, "Multiplier must be one of 'plain', 'lut', not 'dsp'"),
        (
            {"multiplier": "lut", "a": Integer(9), "b": Integer(9)},
            "Operands of a Booth product must have 2 to 8 bits, .*; the plain multiplier takes any",
        ),
    ],
)
def test_output_errors(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        OutputElement(**changes)


def test_tokens():
    assert Shape.cast(stationary_token(9)).width == 11
    assert Shape.cast(output_token(I4)).width == 7
    assert output_token(I4)["operand"].shape == I4


def test_they_convert():
    for dut in (StationaryElement(), OutputElement(), OutputElement(multiplier="lut")):
        assert "module \\element" in emit(dut, name="element").rtlil
