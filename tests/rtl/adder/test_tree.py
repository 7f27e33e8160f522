import itertools
import re

import numpy as np
import pytest
from amaranth.hdl import Shape
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.adder import SumTree, sum_latency


def play(tree, sets, subtract=()):
    """The sums of sets of numbers, one set a cycle."""
    seen = []
    mask = (1 << tree.i_width) - 1

    async def drive(ctx):
        for cycle in range(len(sets) + tree.latency):
            if cycle < len(sets):
                words = [(int(x) & mask) << k * tree.i_width for k, x in enumerate(sets[cycle])]
                ctx.set(tree.i, sum(words))
            if tree.parameters["subtracts"]:
                ctx.set(tree.i_subtract, subtract[cycle] if cycle < len(sets) else 0)
            seen.append(ctx.get(tree.o))
            await ctx.tick()

    simulator = Simulator(tree)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return seen[tree.latency :]


def expected(tree, sets, subtract):
    p = tree.parameters
    total = np.asarray(sets, object).reshape(len(sets), p["planes"], p["n"]).sum(2)
    weights = np.array([1 << plane for plane in range(p["planes"])], object)
    signs = np.ones((len(sets), p["planes"]), int)
    if p["subtracts"]:
        signs[:, -1] = 1 - 2 * np.asarray(subtract)
    sums = (total * weights * signs).sum(1) + p["constant"]
    half = 1 << p["width"] - 1
    return [(int(x) + half) % (2 * half) - half for x in sums]


class TestConstructor:
    def test_attributes(self):
        tree = SumTree(n=5, low=-4, high=3, width=8)
        assert (tree.i_width, tree.latency) == (3, 2)
        assert tree.signature == Signature({"i": In(15), "o": Out(Shape(8, signed=True))})
        tree = SumTree(n=5, low=0, high=4, width=8, planes=2, subtracts=True)
        assert tree.signature == Signature(
            {"i": In(30), "o": Out(Shape(8, signed=True)), "i_subtract": In(1)}
        )

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"n": 0}, ValueError, "Number of words must be a positive integer, not 0"),
            ({"width": "8"}, TypeError, "Width must be a positive integer, not '8'"),
            ({"planes": 0}, ValueError, "Number of planes must be a positive integer, not 0"),
            ({"planes": 9}, ValueError, "Number of planes must be at most 8, not 9"),
            ({"low": 4}, ValueError, "The smallest number must be at most 3, not 4"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            SumTree(**{"n": 2, "low": -4, "high": 3, "width": 8, **changes})

    @pytest.mark.parametrize(
        ("n", "planes", "latency"),
        [(1, 1, 1), (3, 1, 1), (4, 1, 2), (9, 1, 2), (10, 1, 3), (8, 8, 4), (9, 9, 4), (1, 3, 1)],
    )
    def test_latency(self, n, planes, latency):
        assert SumTree(n=n, low=-4, high=3, width=20, planes=planes).latency == latency
        assert sum_latency(n, planes=planes) == latency

    def test_latency_with_constant(self):
        # Three words and a large constant do not fit one adder.
        assert [sum_latency(3, constant) for constant in (0, 2, 3, -1)] == [1, 1, 2, 2]
        assert [sum_latency(2, constant) for constant in (0, 2, 3, -1)] == [1, 1, 1, 1]


class TestValues:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 9, 10])
    @pytest.mark.parametrize("constant", [0, 1, 2, 3, -1, -77])
    @pytest.mark.parametrize(("low", "high", "width"), [(-4, 3, 12), (0, 5, 12), (-4, 0, 4)])
    def test_constants(self, n, constant, low, high, width):
        tree = SumTree(n=n, low=low, high=high, width=width, constant=constant)
        sets = np.random.default_rng(n).integers(low, high + 1, (20, n))
        sets[:2] = [[low], [high]]
        assert play(tree, sets) == expected(tree, sets, None)

    @pytest.mark.parametrize(
        ("n", "planes"), [(1, 1), (1, 2), (2, 1), (1, 8), (2, 3), (3, 2), (5, 4), (8, 8), (4, 3)]
    )
    @pytest.mark.parametrize(("low", "high"), [(-512, 508), (0, 1020), (-3, -2), (0, 0)])
    @pytest.mark.parametrize("subtracts", [False, True])
    def test_planes(self, n, planes, low, high, subtracts):
        rng = np.random.default_rng([n, planes])
        for width, constant in [(26, 0), (planes + 2, 0), (26, 5)]:
            tree = SumTree(
                n=n,
                low=low,
                high=high,
                width=width,
                constant=constant,
                planes=planes,
                subtracts=subtracts,
            )
            sets = rng.integers(low, high + 1, (16, n * planes))
            sets[:4] = [[low], [high], [low], [high]]
            subtract = np.r_[0, 0, 1, 1, rng.integers(0, 2, 12)]
            assert play(tree, sets, subtract.tolist()) == expected(tree, sets, subtract)

    def test_exhaustive(self):
        tree = SumTree(n=2, low=-2, high=1, width=7, planes=3, subtracts=True)
        sets = list(itertools.product(range(-2, 2), repeat=6))
        for sign in (0, 1):
            signs = [sign] * len(sets)
            assert play(tree, sets, signs) == expected(tree, sets, signs)


def test_conversion():
    assert "ternary_adder" in emit(SumTree(n=9, low=-4, high=3, width=8)).rtlil


def test_low_bits_pass_by():
    # Three numbers of 4 bits that count 1, 2 and 4 times make 7 bits; the lowest is the first's.
    tree = emit(SumTree(n=1, low=-8, high=7, width=20, planes=3))
    assert "ternary_adder_width6_" in tree.rtlil
