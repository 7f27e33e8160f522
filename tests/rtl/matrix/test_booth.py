import random
import re

import pytest
from amaranth.hdl import signed
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.booth import Accumulator, BoothProduct

U4 = Integer(4, is_signed=False)
I16 = Integer(16)


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


class TestBoothProduct:
    @pytest.mark.parametrize(
        ("a", "b", "width", "recodes_b"),
        [
            (I8, I8, 16, True),
            (I8, I4, 12, True),
            (I4, U8, 12, False),
            (I8, U8, 16, False),
            (U8, I8, 16, True),
            (U8, U8, 17, True),
            (I16, I8, 24, True),
        ],
    )
    def test_attributes(self, a, b, width, recodes_b):
        product = BoothProduct(a=a, b=b)
        assert product.recodes_b == recodes_b
        assert product.signature == Signature(
            {"i_a": In(a), "i_b": In(b), "o": Out(signed(width)), "o_carry": Out(1)}
        )

    @pytest.mark.parametrize(
        ("a", "b"),
        [(I8, Integer(1)), (Integer(9), Integer(9)), (I4, Integer(17, is_signed=False))],
    )
    def test_errors(self, a, b):
        message = (
            "Operands of a Booth product must have 2 to 8 bits, one of them up to 16, "
            f"not {a} and {b}; the plain multiplier takes any"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            BoothProduct(a=a, b=b)

    # Widths of 8 are shown with the structure, in a compiled simulator.
    @pytest.mark.parametrize("a", [I4, U4, Integer(3)])
    @pytest.mark.parametrize("b", [I4, U4, Integer(2, is_signed=False)])
    def test_all_pairs(self, a, b):
        product = BoothProduct(a=a, b=b)

        async def bench(ctx):
            for x in range(a.min_raw, a.max_raw + 1):
                for y in range(b.min_raw, b.max_raw + 1):
                    ctx.set(product.i_a, x)
                    ctx.set(product.i_b, y)
                    await ctx.tick()
                    assert ctx.get(product.o) + ctx.get(product.o_carry) == x * y

        simulate(product, bench)

    def test_conversion(self):
        assert emit(BoothProduct()).rtlil.count("cell $mul ") == 1


class TestAccumulator:
    @pytest.mark.parametrize("name", ["i_width", "width"])
    def test_errors(self, name):
        label = {"i_width": "Width of a number", "width": "Width"}[name]
        with pytest.raises(ValueError, match=f"^{label} must be a positive integer, not 0$"):
            Accumulator(**{"i_width": 4, "width": 8, name: 0})

    @pytest.mark.parametrize(("i_width", "width"), [(16, 32), (5, 5), (6, 4), (1, 9)])
    def test_sums(self, i_width, width):
        accumulator = Accumulator(i_width=i_width, width=width)
        rng = random.Random(width)

        async def bench(ctx):
            total = 0
            for _ in range(400):
                low = -(1 << i_width - 1)
                number = rng.choice([low, -low - 1, rng.randrange(low, -low)])
                carry, valid, first = (rng.randrange(2) for _ in range(3))
                ctx.set(accumulator.i, number)
                ctx.set(accumulator.i_carry, carry)
                ctx.set(accumulator.i_valid, valid)
                ctx.set(accumulator.i_first, first)
                await ctx.tick()
                if valid:
                    total = (0 if first else total) + number + carry
                assert (ctx.get(accumulator.o) - total) % (1 << width) == 0

        simulate(accumulator, bench)
