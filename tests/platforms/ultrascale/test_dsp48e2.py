import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Out

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.dsp import DspMatrixUnit, PackedChain
from qkloom.rtl.matrix.packing import Packing
from qkloom.rtl.product import Product
from qkloom.tb.engines import check
from qkloom.tb.equivalence import prove_equal
from qkloom.tb.errors import ToolError
from qkloom.tb.formal import ProofError
from qkloom.tb.matrix.stationary import model
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench, pack

# Operand widths 8x8, 8x4, 4x8, 4x4; signed, and of either sign; and an unsigned tile.
PACKINGS = [Packing(*x) for x in product((I8, I4), (I8, I4), (False, True))]
PACKINGS.append(Packing(U8, U8, False))

U1, U7, U13, U17, U23 = (Integer(width, is_signed=False) for width in (1, 7, 13, 17, 23))
PRODUCTS = {
    "scale": {"a": Integer(23), "b": U17},
    "normalizer": {"a": Integer(27), "b": U17, "constant": 1 << 18},
    "exp2": {"a": U13, "b": U7, "c": U23},
    "widest": {"a": Integer(27), "b": Integer(18), "c": Integer(47)},
    "narrowest": {"a": Integer(1), "b": U1, "constant": -1},
}


class Both(Component):
    """Structure and twin of a chain or of a product on equal inputs."""

    def __init__(self, *, block, parameters):
        self._blocks = [block(**dict(parameters)) for _ in range(2)]
        members = dict(self._blocks[0].signature.members.items())
        shape = members.pop("o").shape
        self._inputs = list(members)
        super().__init__({**members, "o": Out(shape), "o_twin": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        structure, twin = self._blocks
        m.submodules.structure = UltraScale().structure(structure)
        m.submodules.twin = twin.twin()
        for name in self._inputs:
            port = getattr(self, name)
            m.d.comb += [getattr(block, name).eq(port) for block in self._blocks]
        m.d.comb += [self.o.eq(structure.o), self.o_twin.eq(twin.o)]
        return m


def both(block, **parameters):
    return emit(Both(block=block, parameters=tuple(parameters.items())))


def chain_proof(rows, packing):
    """Return twin and structure of a chain, what is equal of them, and the models.

    In stages: operands, products, then sums.
    """
    low = f"{packing.shift}'d0"

    def pair(register, k, kind):
        twin = f"twin.{kind}_{k}"
        return f"structure.slice_{k}.{register}", twin

    def shifted(register, k, kind, width):
        name, twin = pair(register, k, kind)
        return f"{name}[{packing.shift + width - 1}:0]", f"{twin},{low}"

    width = packing.operand_width
    stages = [
        [pair(r, k, r) for k in range(rows) for r in ("d", "ad")]
        + [shifted("b2", k, "b", width) for k in range(rows)],
        [shifted("m", k, "m", 27 + width) for k in range(rows)],
        [shifted("p", k, "p", packing.n_fields * packing.field_width) for k in range(rows)]
        + [("o", "o_twin")],
    ]
    models = {"DSP48E2": UltraScale().models["DSP48E2"]}
    return both(PackedChain, rows=rows, packing=packing), list(map(dict, stages)), models


def prove_chain(rows, packing, model=None):
    """Prove that twin and structure of a chain are equal."""
    design, stages, models = chain_proof(rows, packing)
    prove_equal(design, stages, models=models if model is None else {"DSP48E2": model})


def product_proof(**parameters):
    """Return twin and structure of a product, what is equal of them, and the models.

    In stages: operands, the product, then the result.
    """
    a, b, c = (parameters.get(name) for name in "abc")

    def pair(register, kind, width, wide):
        """In the slice, a register of the twin is extended: by its sign, or by zeros."""
        top = "1'd0" if width < 0 else f"twin.{kind}[{width - 1}]"
        name = ",".join([top] * (wide - abs(width)) + [f"twin.{kind}"])
        return f"structure.slice.{register}", name

    a_width, b_width = (x.width + (not x.is_signed) for x in (a, b))
    stages = [
        [pair("a2", "a", a_width, 30), pair("b2", "b", b_width, 18)],
        [pair("m", "m", a_width + b_width, 45)],
        [("o", "o_twin")],
    ]
    if c is not None:
        stages[0].append(pair("c", "c", c.width if c.is_signed else -c.width, 48))
    models = {"DSP48E2": UltraScale().models["DSP48E2"]}
    return both(Product, **parameters), list(map(dict, stages)), models


def prove_product(model=None, **parameters):
    """Prove that twin and structure of a product are equal."""
    design, stages, models = product_proof(**parameters)
    prove_equal(design, stages, models=models if model is None else {"DSP48E2": model})


def broken(right, wrong):
    """Return the model with a mistake."""
    text = UltraScale().models["DSP48E2"]
    assert text.count(right) == 1
    return text.replace(right, wrong)


class TestProof:
    # A longer chain has more slices like the second one.
    @pytest.mark.parametrize("packing", PACKINGS, ids=str)
    def test_chain(self, require, packing):
        require("yosys")
        prove_chain(2, packing)

    def test_single(self, require):
        require("yosys")
        prove_chain(1, PACKINGS[0])

    @pytest.mark.parametrize(
        ("right", "wrong", "stage"),
        [
            ("pre_d + pre_a;", "pre_d - pre_a;", 1),
            ("$signed(factor) * $signed(b2)", "$signed(factor) * b2", 2),
            ("2'b10: w = RND;", "2'b10: w = 48'd0;", 3),
        ],
    )
    def test_notices(self, require, right, wrong, stage):
        require("yosys")
        with pytest.raises(ProofError, match=f"in stage {stage} of 3$"):
            prove_chain(2, PACKINGS[0], broken(right, wrong))

    @pytest.mark.parametrize("parameters", PRODUCTS.values(), ids=PRODUCTS)
    def test_product(self, require, parameters):
        require("yosys")
        prove_product(**parameters)

    @pytest.mark.parametrize(
        ("right", "wrong", "stage"),
        [
            ("CEA2) a2 <= A;", "CEA2) a2 <= A >> 1;", 1),
            ('AMULTSEL == "AD" ? ad : pre_a;', "ad;", 2),
            ("3'b011: z = c_path;", "3'b011: z = c_path >> 1;", 3),
            ("ALUMODE[0] ? z - rest", "ALUMODE[0] ? z + rest", 3),
        ],
    )
    def test_notices_of_a_product(self, require, right, wrong, stage):
        require("yosys")
        with pytest.raises(ProofError, match=f"in stage {stage} of 3$"):
            prove_product(broken(right, wrong), **PRODUCTS["exp2"])

    @pytest.mark.parametrize(
        ("name", "setting", "wrong", "stage"),
        [
            ("normalizer", r"parameter \\RND", f"48'{1 << 19:048b}", 3),
            ("normalizer", r"connect \\OPMODE", "9'000000101", 3),
            ("exp2", r"connect \\OPMODE", "9'000000101", 3),
            ("exp2", r"connect \\ALUMODE", "4'0000", 3),
            ("exp2", r"connect \\INMODE", "5'00010", 2),
            ("exp2", r"connect \\CEC", "1'0", 1),
        ],
    )
    def test_notices_in_a_product(self, require, name, setting, wrong, stage):
        require("yosys")
        design, stages, models = product_proof(**PRODUCTS[name])
        text, n = re.subn(rf"({setting}) .*", rf"\1 {wrong}", design.rtlil)
        assert n == 1
        with pytest.raises(ProofError, match=f"in stage {stage} of 3$"):
            prove_equal(replace(design, rtlil=text), stages, models=models)


class TestModel:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("OPMODEREG", 1, "has_no_control_registers"),
            ("BREG", 2, "has_one_register_of_B_D_AD_M_P"),
            ("BMULTSEL", '"AD"', "multiplies_A_or_AD_by_B"),
            ("AREG", 2, "has_one_register_of_A_C_or_none"),
            ("ACASCREG", 1, "has_one_register_of_A_C_or_none"),
            ("B_INPUT", '"CASCADE"', "has_no_operand_cascade"),
        ],
    )
    def test_refuses(self, require, name, value, message):
        require("yosys")
        design = both(PackedChain, rows=1, packing=PACKINGS[0])
        text, n = re.subn(rf"(parameter \\{name}) .*", rf"\1 {value}", design.rtlil)
        assert n == 1
        with pytest.raises(ToolError, match=f"DSP48E2_model_{message}"):
            prove_equal(replace(design, rtlil=text), [], models=UltraScale().models)


class TestVerilog:
    """The emitted structure in a second simulator: NumPy's values, and the twin's cycles."""

    @pytest.mark.parametrize(
        ("rows", "cols", "packing"),
        [(17, 3, PACKINGS[0]), (10, 4, PACKINGS[7])],
        ids=str,
    )
    def test_unit(self, require, rows, cols, packing):
        require("verilator")
        require("compiler")
        unit = DspMatrixUnit(
            rows=rows,
            cols=cols,
            stream=packing.stream,
            stationary=packing.stationary,
            mixed_signs=packing.mixed_signs,
        )
        rng = np.random.default_rng([rows, cols])
        passes = [1, rows, rows + 1, 2, 40]
        ends = packing.stationary.min_raw, packing.stationary.max_raw
        tiles = rng.integers(ends[0], ends[1] + 1, (len(passes) * rows, cols))
        tiles[rows : 2 * rows] = ends[0]
        row = rng.integers(packing.stream.min_raw, packing.stream.max_raw + 1, (sum(passes), rows))
        row[1:4] = packing.stream.min_raw
        is_signed = np.arange(len(passes)) % 2 if packing.mixed_signs else np.ones(len(passes), int)
        tile = {"row": tiles, "is_signed": np.repeat(is_signed, rows)}
        starts = np.concatenate([np.arange(n) == 0 for n in passes]).astype(int)
        i = {"row": row, "new_tile": starts, "tag": np.zeros(len(row), int)}

        def words(name, fields):
            return pack(getattr(unit, name).payload.shape(), **fields)

        bench = Testbench(
            {
                "tile": Stimulus(words("tile", tile), Stall(0.2)),
                "i": Stimulus(words("i", i), Stall(0.3)),
            },
            {"o": Expectation(words("o", model(unit, tile, i)))},
            max_cycles=2000,
        )
        target = UltraScale()
        design = emit(unit, verilog=True, target=target)
        models = "\n".join(target.models.values())
        structure = check(replace(design, verilog=design.verilog + models), bench, "verilator")
        twin = check(emit(unit), bench, "pysim")
        for name in twin.transfers:
            assert np.array_equal(structure.transfers[name], twin.transfers[name])


def test_cost():
    unit = DspMatrixUnit(rows=9, cols=5)
    text = emit(unit, target=UltraScale()).rtlil
    # Chains of 3 rows, in two and a half slices' columns; equal chains and columns are one module.
    assert text.count("cell \\DSP48E2 ") == 3
    assert unit.n_dsp == 27
