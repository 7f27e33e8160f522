"""Test vectors of units: they pass in the testbench, and the components give the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from qkloom.gen.generate import generate_unit
from qkloom.gen.units import find_unit, parse_options
from qkloom.gen.vectors.units import unit_vectors
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, U8
from qkloom.rtl.lane.reciprocal import Reciprocal
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.rtl.stream import Fork, Merge, Queue, RegisterSlice
from qkloom.tb.simulate import simulate
from qkloom.tb.streams import streams_of
from qkloom.tb.tensors import InputError

PARTS = (
    *("choice", "coverage-selector", "credit-gate", "delay", "exp2", "feeder", "fork", "join"),
    *("mask", "merge"),
    *("multicast", "normalizer", "output-accumulator", "output-element", "output-stationary"),
    *("pass-scheduler", "probability-buffer", "product", "query-buffer", "queue", "reciprocal"),
    *("register-slice", "route", "row-unit", "running-maximum", "running-sum", "scale"),
    *("score-accumulator", "selection-lists", "selection-mask", "skew", "slot-table"),
    *(
        "stationary-element",
        "step-expander",
        "tail-blocks",
        "tile-buffer",
        "tile-loader",
        "transposer",
        "use-table",
    ),
)
# Among them: whatever a testbench is made of.
UNITS = {
    "coverage-selector": "--candidates 20 --value-width 13 --total-width 17 --digit-bits 3",
    "matrix": "--kind lut --rows 6 --cols 5 --planes serial",
    "feeder": "--size 4 --block-rows 3 --head-dim 8 --slots 2 --digits 2",
    "normalizer": "--size 4 --block-rows 3 --head-dim 8 --slots 2 --out-width 2 --acc-width 30",
    "product": "--a i9 --b u7 --c u20",
    "query-buffer": "--size 4 --block-rows 3 --head-dim 12",
    "row-unit": "--size 4 --block-rows 3 --row-width 2 --head-dim 8 --tokens 64 --p-width 12",
    "selection-lists": "--blocks 40",
    "skew": "--width 3 --lanes 5 --falling",
    "slot-table": "--heads 3 --blocks 20 --k 5",
    "tail-blocks": "--heads 3 --blocks 20 --k 5 --block 4",
    "use-table": "--blocks 9 --heads 3 --window 2",
}


class TestUnits:
    @pytest.mark.parametrize("name", UNITS)
    def test_passes(self, name: str, tmp_path: Path, bench: Any) -> None:
        unit = find_unit(name)
        folder = generate_unit(unit, parse_options(UNITS[name].split()), tmp_path / "u", vectors=9)
        program = bench.build(folder)
        assert bench.run(program, folder).startswith("PASS")
        if name == "matrix":
            self.expect_all_planes(folder, bench)
        if name == "normalizer":
            for slot in range(2):
                self.expect_late_reciprocals(slot, folder, bench)
        if name == "row-unit":
            self.expect_another_read(program, folder, bench)

    def expect_all_planes(self, folder: Path, bench: Any) -> None:
        (verilog,) = folder.glob("*.v")
        # Every tile's operands now have all bits.
        text, n = re.subn(r"(\bnext_bits <= )[^;]*;", r"\g<1>4'd8;", verilog.read_text())
        assert n
        verilog.write_text(text)
        assert bench.run(bench.build(folder), folder).startswith("FAIL")

    def expect_late_reciprocals(self, slot: int, folder: Path, bench: Any) -> None:
        (verilog,) = folder.glob("*.v")
        text = verilog.read_text()
        # Any row of this slot counts as one whose reciprocal is there.
        broken, n = re.subn(rf"(is_slot_{slot} \? )waiting_{slot}_has_some ", r"\g<1>1'h1 ", text)
        assert n == 1
        verilog.write_text(broken)
        assert bench.run(bench.build(folder), folder).startswith("FAIL")
        verilog.write_text(text)

    def expect_another_read(self, program: Path, folder: Path, bench: Any) -> None:
        found = re.search(r"\.WHAT\((\d+)\)", (folder / "sim/testbench.sv").read_text())
        assert found is not None
        file = folder / "sim/vectors/r.hex"
        words = file.read_text().split()
        words[3] = f"{int(words[3], 16) ^ 1 << int(found[1]):0{len(words[3])}x}"
        file.write_text("\n".join(words))
        assert re.search(r"memory_r: read 3 must be of \w+, not \w+$", bench.run(program, folder))

    def test_every_unit_of_a_lane_has_words_for_all_of_its_streams(self) -> None:
        for name in ("core", "lane", "matrix", *PARTS):
            unit = find_unit(name)
            component = unit.build(unit.example())
            vectors = unit_vectors(component, 2)
            assert vectors == unit_vectors(component, 2)
            assert all(expected.words for expected in vectors.outputs.values())
            streams = {stream.name for stream in streams_of(component)}
            # Read ports have the streams of a bench beside them.
            assert streams <= {*vectors.inputs, *vectors.outputs}, name


class TestVectors:
    @pytest.mark.parametrize(
        "unit",
        [
            MatrixUnit(rows=3, cols=4, stream=I4, stationary=U8, tag=3),
            MatrixUnit(rows=1, cols=1),
            LutMatrixUnit(rows=6, cols=2, planes="serial", tag=2),
            LutMatrixUnit(rows=2, cols=1, planes="serial", stream=U8, mixed_signs=False),
            LutMatrixUnit(rows=1, cols=1),
            OutputStationary(rows=3, cols=2, depth=9),
            OutputStationary(rows=2, cols=3, a=U8, b=I4),
            OutputStationary(rows=2, cols=3, multiplier="lut"),
            Reciprocal(sum_width=26, tag=4),
            Queue(shape=data.ArrayLayout(I4, 3), depth=4),
            RegisterSlice(shape=12, mode="half"),
            Fork(shape=9, n=3),
            Merge(shape=7, n=3),
            Merge(shape=7, n=1),
        ],
        ids=lambda unit: unit.module_name,
    )
    def test_component_gives_the_expected_words(self, unit: Component) -> None:
        vectors = unit_vectors(unit, 6)
        logs = simulate(
            unit,
            inputs=vectors.inputs,
            outputs=list(vectors.outputs),
            cycles=vectors.max_cycles,
            pace=dict.fromkeys([*vectors.inputs, *vectors.outputs], 0.7),
        )
        for name, expected in vectors.outputs.items():
            mask = (1 << expected.key_width) - 1
            assert sorted(logs[name].items, key=lambda word: word & mask) == expected.words

    def test_same_in_every_run(self) -> None:
        unit = MatrixUnit(rows=4, cols=2, stationary=U8)
        assert unit_vectors(unit, 3) == unit_vectors(unit, 3)

    @pytest.mark.parametrize("stationary", [I4, U8])
    def test_matrix_rows_per_tile(self, stationary: object) -> None:
        vectors = unit_vectors(MatrixUnit(rows=4, cols=2, stationary=stationary), 4)
        assert len(vectors.inputs["tile"]) == 16
        assert len(vectors.inputs["i"]) == 1 + 3 + 4 + 9
        assert len(vectors.outputs["o"].words) == 17

    def test_register_slice(self) -> None:
        vectors = unit_vectors(RegisterSlice(shape=4), 2)
        assert vectors.outputs["o"].words == vectors.inputs["i"]

    def test_no_model(self) -> None:
        class Wire(Component):
            def __init__(self) -> None:
                super().__init__({"i": In(1), "o": Out(1)})

        with pytest.raises(
            InputError, match=r"^Test vectors exist for choice, .*, not for wire; leave out"
        ):
            unit_vectors(Wire(), 1)
