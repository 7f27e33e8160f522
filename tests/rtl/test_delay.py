import re

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Const, ResetInserter
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.rtl.delay import Delay, Skew


def play(dut, words):
    """What comes out in the cycles in which ``words`` go in."""
    seen = []

    async def testbench(ctx):
        for word in words:
            ctx.set(dut.i, int(word))
            seen.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return seen


class TestDelay:
    def test_attributes(self):
        assert Delay(width=3, cycles=2).signature == Signature({"i": In(3), "o": Out(3)})

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"width": 0}, ValueError, "Width must be a positive integer, not 0"),
            ({"width": "8"}, TypeError, "Width must be a positive integer, not '8'"),
            ({"cycles": -1}, ValueError, "Delay must be a non-negative integer, not -1"),
            ({"cycles": 1.0}, TypeError, "Delay must be a non-negative integer, not 1.0"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            Delay(**{"width": 8, "cycles": 1, **changes})

    @pytest.mark.parametrize("cycles", [1, 2, 15, 16, 17, 32, 40])
    def test_delay(self, cycles):
        words = np.random.default_rng(cycles).integers(0, 32, 100).tolist()
        assert play(Delay(width=5, cycles=cycles), words) == [0] * cycles + words[:-cycles]

    def test_wire(self):
        m = rtlil.convert(Delay(width=5, cycles=0))
        assert "cell" not in m

    def test_no_reset(self):
        dut = Delay(width=5, cycles=2)
        held = ResetInserter(Const(1))(dut)
        held.i, held.o = dut.i, dut.o
        assert play(held, [7, 8, 9, 0]) == [0, 0, 7, 8]


class TestSkew:
    def test_attributes(self):
        assert Skew(width=3, lanes=4).signature == Signature({"i": In(12), "o": Out(12)})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"width": 0}, "Width must be a positive integer, not 0"),
            ({"lanes": 0}, "Number of lanes must be a positive integer, not 0"),
        ],
    )
    def test_errors(self, changes, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Skew(**{"width": 8, "lanes": 1, **changes})

    @pytest.mark.parametrize("lanes", [2, 5, 16, 17, 40])
    @pytest.mark.parametrize("falling", [False, True])
    def test_skew(self, lanes, falling):
        rng = np.random.default_rng(lanes)
        lane_words = rng.integers(0, 8, (60, lanes))
        words = [sum(int(x) << 3 * n for n, x in enumerate(row)) for row in lane_words]
        seen = play(Skew(width=3, lanes=lanes, falling=falling), words)
        for lane in range(lanes):
            cycles = lanes - 1 - lane if falling else lane
            expected = [0] * cycles + lane_words[: 60 - cycles, lane].tolist()
            assert [word >> 3 * lane & 7 for word in seen] == expected

    def test_conversion(self):
        assert "delay_16" in rtlil.convert(Skew(width=2, lanes=20))
