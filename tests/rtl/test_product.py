import re

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import F16, I8, U8, Fixed, Integer
from qkloom.rtl.product import Product
from qkloom.tb.product import product


def unsigned_integer(width):
    return Integer(width, is_signed=False)


def run(dut, a, b, c=None):
    """Feed a pair a cycle, and ``c`` a cycle later; return what comes ``latency`` cycles later."""
    found = []

    async def drive(ctx):
        for cycle in range(len(a) + dut.latency):
            if cycle < len(a):
                ctx.set(dut.i_a, int(a[cycle]))
                ctx.set(dut.i_b, int(b[cycle]))
            if c is not None and 0 < cycle <= len(c):
                ctx.set(dut.i_c, int(c[cycle - 1]))
            if cycle >= dut.latency:
                found.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


def numbers(rng, operand, n):
    """Return random numbers of a format, its ends often."""
    low, high = operand.min_raw, operand.max_raw
    return rng.choice([low, high, *rng.integers(low, high + 1, 6)], n)


class TestConstructor:
    @pytest.mark.parametrize(
        ("parameters", "width"),
        [
            ({"a": I8, "b": I8}, 16),
            ({"a": I8, "b": I8, "constant": -1 << 14}, 16),
            ({"a": I8, "b": I8, "constant": 1 << 14}, 17),
            ({"a": U8, "b": I8}, 16),
            ({"a": U8, "b": U8}, 17),
            ({"a": Integer(27), "b": unsigned_integer(17), "constant": 1 << 18}, 44),
            ({"a": U8, "b": U8, "c": U8}, 17),
            ({"a": unsigned_integer(12), "b": unsigned_integer(7), "c": unsigned_integer(23)}, 24),
            ({"a": I8, "b": I8, "c": I8}, 16),
            ({"a": I8, "b": I8, "c": Integer(47)}, 48),
        ],
    )
    def test_attributes(self, parameters, width):
        members = {f"i_{name}": In(of) for name, of in parameters.items() if name != "constant"}
        dut = Product(**parameters)
        assert dut.signature == Signature({**members, "o": Out(signed(width))})
        assert dut.latency == 3

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"a": F16}, TypeError, "Operand a must be an integer format, not F16"),
            ({"b": 8}, TypeError, "Operand b must be an integer format, not 8"),
            ({"c": Fixed(4, 4)}, TypeError, "Operand c must be an integer format, not Fixed(4, 4)"),
            ({"a": Integer(28)}, ValueError, "Operand a must fit 27 signed bits, not be I28"),
            (
                {"b": unsigned_integer(18)},
                ValueError,
                "Operand b must fit 18 signed bits, not be U18",
            ),
            ({"constant": 1 << 47}, ValueError, "A result must fit 48 signed bits, not 49"),
            ({"c": Integer(48)}, ValueError, "A result must fit 48 signed bits, not 49"),
            ({"c": I8, "constant": 2}, ValueError, "The constant beside c must be 0, not 2"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            Product(**{"a": I8, "b": I8, **changes})


@pytest.mark.parametrize(
    "parameters",
    [
        {"a": Integer(3), "b": Integer(2), "constant": 5},
        {"a": Integer(2), "b": unsigned_integer(3), "constant": -4},
        {"a": unsigned_integer(2), "b": unsigned_integer(2), "c": Integer(2)},
        {"a": Integer(2), "b": unsigned_integer(1), "c": unsigned_integer(3)},
    ],
)
def test_every_operand(parameters):
    operands = [parameters[name] for name in "abc" if name in parameters]
    ranges = [np.arange(of.min_raw, of.max_raw + 1) for of in operands]
    columns = [x.ravel() for x in np.meshgrid(*ranges)]
    dut = Product(**parameters)
    expected = product(*columns, constant=parameters.get("constant", 0)).tolist()
    assert run(dut, *columns) == expected
    # The result has no bit to spare.
    assert not all(-(1 << len(dut.o) - 2) <= x < 1 << len(dut.o) - 2 for x in expected)


@pytest.mark.parametrize(
    "parameters",
    [
        {"a": Integer(27), "b": Integer(18)},
        {"a": Integer(27), "b": unsigned_integer(17), "constant": 1 << 18},
        {"a": unsigned_integer(26), "b": unsigned_integer(17), "constant": -(1 << 46)},
        {"a": unsigned_integer(16), "b": unsigned_integer(10), "c": unsigned_integer(28)},
        {"a": Integer(27), "b": Integer(18), "c": Integer(47)},
    ],
)
def test_wide_operands(parameters):
    rng = np.random.default_rng(len(parameters))
    columns = [numbers(rng, parameters[name], 400) for name in "abc" if name in parameters]
    expected = product(*columns, constant=parameters.get("constant", 0))
    assert run(Product(**parameters), *columns) == expected.tolist()


def test_it_converts():
    assert emit(Product(a=I8, b=U8, c=Integer(20))).rtlil.count("cell $mul ") == 1
