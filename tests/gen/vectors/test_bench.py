"""The SystemVerilog testbench, in a simulator: it passes, and it notices whatever is wrong."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from qkloom.gen.emit import emit
from qkloom.gen.generate import generate_unit
from qkloom.gen.units import Unit, find_unit
from qkloom.gen.vectors.bench import Vectors, bench_files
from qkloom.gen.vectors.units import unit_vectors
from qkloom.rtl.lane.exp2 import Exp2
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.rtl.stream import Queue
from qkloom.tb.tensors import InputError

MATRIX = Unit("matrix", MatrixUnit)
QUEUE = Unit("queue", Queue)


class TestSimulation:
    @pytest.fixture(scope="class")
    @staticmethod
    def matrix(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
        """Return folder and program of a matrix unit."""
        options = {"rows": "3", "cols": "2", "stationary": "i4", "tag": "5"}
        folder = generate_unit(MATRIX, options, tmp_path_factory.mktemp("m") / "m", vectors=5)
        return folder, bench.build(folder)

    def test_matrix_passes(self, matrix: tuple[Path, Path], bench: Any) -> None:
        folder, program = matrix
        assert re.fullmatch(
            r"PASS: matrix_unit_\w+: 14 words are right", bench.run(program, folder)
        )

    def test_wrong_word(self, matrix: tuple[Path, Path], tmp_path: Path, bench: Any) -> None:
        folder, program = matrix
        shutil.copytree(folder / "sim/vectors", tmp_path / "sim/vectors")
        file = tmp_path / "sim/vectors/o.hex"
        words = file.read_text().split()
        for index in (0, 6, len(words) - 1):
            wrong = f"{int(words[index], 16) ^ 1:0{len(words[index])}x}"
            file.write_text("\n".join([*words[:index], wrong, *words[index + 1 :]]))
            verdict = bench.run(program, tmp_path)
            assert verdict.endswith(f"word {index} must be {wrong}, not {words[index]}")

    def test_wrong_line(self, matrix: tuple[Path, Path], tmp_path: Path, bench: Any) -> None:
        folder = shutil.copytree(matrix[0], tmp_path / "m", ignore=lambda *_: ["obj_dir"])
        (verilog,) = folder.glob("*.v")
        text = verilog.read_text()
        product = re.search(r" \* ", text)
        assert product is not None
        verilog.write_text(text.replace(" * ", " + ", 1))
        assert "word 0 must be" in bench.run(bench.build(folder), folder)

    def test_queue_and_its_rules(self, tmp_path: Path, bench: Any) -> None:
        options = {"shape": "8", "depth": "3"}
        folder = generate_unit(QUEUE, options, tmp_path / "q", vectors=4)
        assert bench.run(bench.build(folder), folder).endswith(": 16 words are right")
        # The queue now shows an item in every other cycle only, also one that waits.
        testbench = folder / "sim/testbench.sv"
        text = testbench.read_text()
        for old, new in (
            ("  reg rst = 1;", "  reg rst = 1;\n  reg blink = 0;\n  wire shown;"),
            (".o__valid(o__valid)", ".o__valid(shown)"),
            (".o__ready(o__ready)", ".o__ready(o__ready && blink)"),
            ("  always #5", "  assign o__valid = shown && blink;\n  always #5"),
            ("  always #5", "  always @(posedge clk) blink <= !blink;\n  always #5"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        testbench.write_text(text)
        assert "valid fell before its word was taken" in bench.run(bench.build(folder), folder)


class TestRefusals:
    def test_design_without_a_clock(self) -> None:
        join = find_unit("join").build({"shape": "a:3,b:4"})
        files = bench_files(emit(join, verilog=True), ["x.v"], unit_vectors(join, 2))
        assert " dut (\n      .i_a__payload(" in files["sim/testbench.sv"]

    def test_payload_without_bits(self) -> None:
        join = find_unit("join").build({"shape": "a:0,b:4"})
        with pytest.raises(
            InputError, match=r"^No test vectors for join_\w+: i_a__payload has no "
        ):
            bench_files(emit(join, verilog=True), ["x.v"], unit_vectors(join, 2))

    def test_input_that_is_no_stream(self) -> None:
        design = emit(Exp2(p_width=8, segments=8, fraction=8), verilog=True)
        with pytest.raises(InputError, match=r"^No test vectors for exp2_\w+: it has the input "):
            bench_files(design, ["x.v"], Vectors({}, {}, 100))
