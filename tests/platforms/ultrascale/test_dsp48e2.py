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
from qkloom.rtl.formats import I4, I8, U8
from qkloom.rtl.matrix.dsp import DspMatrixUnit, PackedChain
from qkloom.rtl.matrix.packing import Packing
from qkloom.tb.engines import check
from qkloom.tb.equivalence import prove_equal
from qkloom.tb.errors import ToolError
from qkloom.tb.formal import ProofError
from qkloom.tb.matrix.stationary import model
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench, pack

# Operand widths 8x8, 8x4, 4x8, 4x4; signed, and of either sign; and an unsigned tile.
PACKINGS = [Packing(*x) for x in product((I8, I4), (I8, I4), (False, True))]
PACKINGS.append(Packing(U8, U8, False))


class Both(Component):
    """Structure and twin of a chain on equal inputs."""

    def __init__(self, *, rows, packing):
        self._chains = [PackedChain(rows=rows, packing=packing) for _ in range(2)]
        members = dict(self._chains[0].signature.members.items())
        width = members.pop("o").shape
        self._inputs = list(members)
        super().__init__({**members, "o": Out(width), "o_twin": Out(width)})

    def elaborate(self, platform):
        m = Module()
        structure, twin = self._chains
        m.submodules.structure = UltraScale().structure(structure)
        m.submodules.twin = twin.twin()
        for name in self._inputs:
            port = getattr(self, name)
            m.d.comb += [getattr(chain, name).eq(port) for chain in self._chains]
        m.d.comb += [self.o.eq(structure.o), self.o_twin.eq(twin.o)]
        return m


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
    return emit(Both(rows=rows, packing=packing)), list(map(dict, stages)), models


def prove_chain(rows, packing, model=None):
    """Prove that twin and structure of a chain are equal."""
    design, stages, models = chain_proof(rows, packing)
    prove_equal(design, stages, models=models if model is None else {"DSP48E2": model})


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
            ("$signed(ad) * $signed(b2)", "$signed(ad) * b2", 2),
            ("2'b10: w = RND;", "2'b10: w = 48'd0;", 3),
        ],
    )
    def test_notices(self, require, right, wrong, stage):
        require("yosys")
        text = UltraScale().models["DSP48E2"]
        assert text.count(right) == 1
        with pytest.raises(ProofError, match=f"in stage {stage} of 3$"):
            prove_chain(2, PACKINGS[0], text.replace(right, wrong))


class TestModel:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("OPMODEREG", 1, "has_no_control_registers"),
            ("BREG", 2, "has_one_register_of_B_D_AD_M_P"),
            ("AMULTSEL", '"A"', "multiplies_AD_by_B"),
            ("B_INPUT", '"CASCADE"', "has_no_operand_cascade"),
        ],
    )
    def test_refuses(self, require, name, value, message):
        require("yosys")
        design = emit(Both(rows=1, packing=PACKINGS[0]))
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
