import re

import numpy as np
import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.code import CodeDecoder, CodeEncoder, code_width, decoder_latency
from qkloom.tb.index.code import decode, encode
from qkloom.tb.simulate import simulate

SIZES = [(3, 1), (3, 2), (6, 5), (10, 3), (12, 11), (20, 4), (32, 11), (48, 15)]
TAG = data.StructLayout({"always": 1, "number": 4})


def values_of(width):
    """All of few bits; else both ends, and of every length."""
    if width <= 10:
        return np.arange(1 << width)
    rng = np.random.default_rng(width)
    powers = 1 << np.arange(width)
    some = rng.integers(0, 1 << width, 300) >> rng.integers(0, width, 300)
    return np.concatenate([[0], powers, powers - 1, powers | powers >> 1, some])


@pytest.mark.parametrize(("width", "fraction"), SIZES)
class TestEncoder:
    @pytest.mark.parametrize("tag", [0, TAG])
    def test_values(self, width, fraction, tag):
        dut = CodeEncoder(value_width=width, fraction=fraction, tag=tag)
        values = values_of(width)
        tags = np.arange(len(values)) % 32 if tag else np.zeros(len(values), int)
        sent = (values | tags << width).tolist()
        logs = simulate(
            dut, inputs={"i": sent}, outputs=["o"], cycles=9 * len(sent), idle=20, pace={"i": 0.7}
        )
        codes = encode(values, fraction=fraction)
        assert logs["o"].items == (codes | tags << code_width(width, fraction)).tolist()
        assert logs["o"].cycles == [cycle + dut.latency for cycle in logs["i"].cycles]

    def test_conversion(self, width, fraction):
        assert emit(CodeEncoder(value_width=width, fraction=fraction)).ports


@pytest.mark.parametrize(("width", "fraction"), SIZES)
class TestDecoder:
    def test_codes(self, width, fraction):
        dut = CodeDecoder(value_width=width, fraction=fraction)
        codes = np.unique(encode(values_of(width), fraction=fraction))
        found = []

        async def drive(ctx):
            for cycle in range(len(codes) + dut.latency):
                if cycle < len(codes):
                    ctx.set(dut.i, int(codes[cycle]))
                if cycle >= dut.latency:
                    found.append(ctx.get(dut.o))
                await ctx.tick()

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(drive)
        simulator.run()
        assert found == decode(codes, fraction=fraction).tolist()

    def test_conversion(self, width, fraction):
        assert emit(CodeDecoder(value_width=width, fraction=fraction)).ports


def test_widths_and_latencies():
    assert code_width(32, 11) == 16
    assert code_width(12, 11) == 12
    assert CodeEncoder().latency == 5
    assert CodeDecoder().latency == decoder_latency(32, 11) == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"value_width": 0}, ValueError, "Value width must be a positive integer, not 0"),
        ({"value_width": "8"}, TypeError, "Value width must be a positive integer, not '8'"),
        ({"fraction": 0}, ValueError, "Fraction must be a positive integer, not 0"),
        ({"fraction": 1.5}, TypeError, "Fraction must be a positive integer, not 1.5"),
        ({"fraction": 32}, ValueError, "Fraction must be below the value width 32, not 32"),
    ],
)
@pytest.mark.parametrize("component", [CodeEncoder, CodeDecoder])
def test_errors(component, changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        component(**changes)
