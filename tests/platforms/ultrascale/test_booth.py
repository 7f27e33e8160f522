import re

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.booth import Accumulator, BoothProduct
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.tb.engines import check
from qkloom.tb.formal import ProofError
from qkloom.tb.matrix.output_stationary import model
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench, pack

U4 = Integer(4, is_signed=False)
FOURS, EIGHTS = (I4, U4), (I8, U8)
# Those of 8x8 take a solver up to a minute each; a simulator goes through all of their pairs.
PROVEN = [
    *((a, b) for a in FOURS for b in (*FOURS, *EIGHTS)),
    *((a, b) for a in EIGHTS for b in FOURS),
    # Only one digit, and one of one bit beside another.
    (Integer(2), Integer(2)),
    (Integer(5), Integer(2, is_signed=False)),
]


class TestBoothProduct:
    @pytest.mark.parametrize(("a", "b"), PROVEN, ids=str)
    def test_proof(self, prove_twin, a, b):
        prove_twin(BoothProduct, a=a, b=b)

    def test_proof_notices(self, prove_twin):
        models = dict(UltraScale().models)
        models["LUT6_2"] = models["LUT6_2"].replace("{1'b0, I4", "{1'b0, I3")
        with pytest.raises(ProofError):
            prove_twin(BoothProduct, models=models, a=I4, b=I4)

    @pytest.mark.parametrize(
        ("a", "b", "luts"),
        [
            (I8, I8, 35),
            (I8, U8, 37),
            (U8, U8, 48),
            (I8, I4, 15),
            (I4, I8, 15),
            (I4, I4, 9),
        ],
    )
    def test_cost(self, a, b, luts):
        text = emit(BoothProduct(a=a, b=b), target=UltraScale()).rtlil
        assert re.findall(r"cell \\(\S+) ", text).count("LUT6_2") == luts


class TestAccumulator:
    @pytest.mark.parametrize(("i_width", "width"), [(3, 9), (4, 2)])
    def test_proof(self, prove_twin, i_width, width):
        prove_twin(Accumulator, i_width=i_width, width=width)

    def test_cost(self):
        text = emit(Accumulator(i_width=16, width=32), target=UltraScale()).rtlil
        cells = re.findall(r"cell \\(\S+) ", text)
        assert (cells.count("LUT6_2"), cells.count("CARRY8")) == (32, 4)


SIGNS = [(a, b) for a in EIGHTS for b in EIGHTS]


class Products(Component):
    """Products of the same bits, whatever they mean."""

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(16, always_ready=True)),
                "o": Out(stream.Signature(data.ArrayLayout(signed(17), 4), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid = Signal()
        m.d.sync += valid.eq(self.i.valid)
        m.d.comb += self.o.valid.eq(valid)
        for k, (a, b) in enumerate(SIGNS):
            m.submodules[f"product_{k}"] = product = BoothProduct(a=a, b=b)
            m.d.comb += [
                Cat(product.i_a, product.i_b).eq(self.i.payload),
                self.o.payload[k].eq(product.o + product.o_carry),
            ]
        return m


@pytest.fixture(scope="module")
def all_pairs():
    words = np.arange(1 << 16)
    a, b = words & 255, words >> 8

    def view(x, number):
        return np.where(x > number.max_raw, x - 256, x)

    shape = data.ArrayLayout(signed(17), 4)
    products = np.stack([view(a, x) * view(b, y) for x, y in SIGNS], axis=-1)
    return Testbench(
        {"i": Stimulus(words)}, {"o": Expectation(pack(shape, products))}, max_cycles=66_000
    )


class TestAllPairs:
    """All 65,536 pairs of 8 bits, signed and unsigned."""

    def test_twin(self, require, all_pairs):
        require("compiler")
        check(emit(Products()), all_pairs)

    def test_structure(self, require, all_pairs):
        require("verilator")
        require("compiler")
        check(emit(Products(), verilog=True, target=UltraScale()), all_pairs, "verilator")


class TestVerilog:
    """An array of the structure in a second simulator: NumPy's values, and the twin's cycles."""

    def test_array(self, require):
        require("verilator")
        require("compiler")
        unit = OutputStationary(rows=3, cols=2, depth=40, multiplier="lut")
        rng = np.random.default_rng(0)
        folds = [1, 2, 3, 40, 4]
        last = np.concatenate([np.arange(n) == n - 1 for n in folds]).astype(int)
        a, b = (rng.integers(-128, 128, (len(last), n)) for n in (3, 2))
        a[6:26], b[6:26] = -128, -128
        i = {"i_a": {"row": a, "last": last}, "i_b": {"row": b, "last": last}}

        def words(name, fields):
            return pack(getattr(unit, name).payload.shape(), **fields)

        bench = Testbench(
            {
                name: Stimulus(words(name, fields), Stall(0.2, seed=k))
                for k, (name, fields) in enumerate(i.items())
            },
            {"o": Expectation(words("o", model(unit, **i)), Stall(0.2, seed=2))},
            max_cycles=2000,
        )
        design = emit(unit, verilog=True, target=UltraScale())
        structure = check(design, bench, "verilator")
        twin = check(emit(unit), bench, "pysim")
        for name in twin.transfers:
            assert np.array_equal(structure.transfers[name], twin.transfers[name])
