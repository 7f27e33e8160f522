import itertools
import re

import numpy as np
import pytest
from amaranth.hdl import Shape

from qkloom.gen.emit import emit
from qkloom.gen.lint import lint
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.formats import F16, I4, I8, U8, Integer
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.tb.engines import check
from qkloom.tb.matrix.stationary import model, program, read_back

PLANES = ["parallel", "serial"]


def draw(number, shape, rng, *, extreme=False):
    if extreme:
        return rng.choice([number.min_raw, number.max_raw], shape)
    return rng.integers(number.min_raw, number.max_raw + 1, shape)


def payloads(unit, passes, rng, *, extreme=False):
    """Random tiles, each of random sign and planes, and rows under each as ``passes`` says."""
    p = unit.parameters
    rows, cols, n_rows = p["rows"], p["cols"], sum(passes)
    tile = {
        "row": draw(p["stationary"], (len(passes) * rows, cols), rng, extreme=extreme),
        "is_signed": np.repeat(rng.integers(0, 2, len(passes)), rows),
    }
    if p["planes"] == "serial":
        bits = rng.integers(1, p["stream"].width + 1, len(passes))
        tile["planes"] = np.repeat(bits, rows)
    i = {
        "row": draw(p["stream"], (n_rows, rows), rng, extreme=extreme),
        "new_tile": np.concatenate([np.arange(n) == 0 for n in passes]).astype(int),
        "tag": rng.integers(0, 1 << Shape.cast(p["tag"]).width, n_rows),
    }
    return tile, i


def run_check(unit, testbench, tile, i, *, design=None, engine="pysim", **options):
    """Run on an engine and compare with NumPy; the latency is always the same."""
    inputs = {"tile": tile, "i": i}
    bench = testbench(unit, inputs, model(unit, tile, i), **options)
    result = check(design or emit(unit), bench, engine)
    assert (result.transfers["o"] - result.transfers["i"] == unit.latency).all()
    return result


class TestConstructor:
    def test_attributes(self):
        unit = LutMatrixUnit(rows=32, cols=32)
        assert (unit.latency, unit.load_cycles, unit.acc_width) == (7, 128, 21)
        assert unit.parameters["planes"] == "parallel"

    def test_signature(self):
        parallel, serial = (LutMatrixUnit(rows=2, cols=3, planes=planes) for planes in PLANES)
        assert "planes" not in dict(parallel.tile.payload.shape())
        assert dict(serial.tile.payload.shape())["planes"].width == 4
        assert parallel.i.payload.shape() == serial.i.payload.shape()

    @pytest.mark.parametrize(
        ("rows", "cycles"),
        # Four rows take 16 cycles. From 36 rows on, tables load side by side.
        [
            *((1, 2), (2, 4), (3, 8), (4, 16), (5, 18), (31, 120), (32, 128)),
            *((33, 68), (36, 80), (64, 96), (128, 140), (512, 524)),
        ],
    )
    def test_load_cycles(self, rows, cycles):
        assert LutMatrixUnit(rows=rows, cols=1).load_cycles == cycles

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"rows": 0}, ValueError, "Number of rows must be a positive integer, not 0"),
            ({"stream": F16}, TypeError, "Streaming operand must be an integer format, not F16"),
            ({"planes": "bits"}, ValueError, "Planes must be parallel or serial, not 'bits'"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            LutMatrixUnit(**{"rows": 2, "cols": 2, **changes})


@pytest.mark.parametrize("planes", PLANES)
class TestValues:
    @pytest.mark.parametrize(("rows", "cols"), [(1, 1), (5, 3), (9, 2), (37, 1)])
    @pytest.mark.parametrize("stall", [0, 0.4])
    def test_stalls(self, testbench, planes, rows, cols, stall):
        rng = np.random.default_rng([rows, cols])
        unit = LutMatrixUnit(rows=rows, cols=cols, tag=8, planes=planes)
        tile, i = payloads(unit, [1, rows, 2, 25, 1, 1, 3], rng)
        run_check(unit, testbench, tile, i, stall=stall)

    @pytest.mark.parametrize(
        ("streaming", "stationary", "mixed_signs"),
        [
            *((a, w, True) for a, w in itertools.product([I8, I4], repeat=2)),
            (U8, U8, True),
            (U8, I8, False),
            (I8, U8, False),
            (U8, U8, False),
            (I4, I8, False),
            (Integer(1), Integer(3), True),
            (Integer(2), I8, False),
        ],
    )
    def test_formats(self, testbench, planes, streaming, stationary, mixed_signs):
        unit = LutMatrixUnit(
            rows=6,
            cols=2,
            stream=streaming,
            stationary=stationary,
            mixed_signs=mixed_signs,
            planes=planes,
        )
        design = emit(unit)
        for extreme in (False, True):
            rng = np.random.default_rng(1)
            tile, i = payloads(unit, [4] * 6, rng, extreme=extreme)
            run_check(unit, testbench, tile, i, design=design)

    @pytest.mark.parametrize("is_signed", [0, 1])
    @pytest.mark.parametrize(("x", "w"), [(-128, -128), (-1, -128), (-1, 127), (-128, 127)])
    def test_largest_sums(self, testbench, planes, is_signed, x, w):
        # -1 is 255 under a tile of unsigned operands, -128 is 128.
        unit = LutMatrixUnit(rows=8, cols=1, planes=planes)
        tile = {"row": np.full((8, 1), w), "is_signed": np.full(8, is_signed)}
        if planes == "serial":
            tile["planes"] = np.full(8, 8)
        i = {"row": np.full((2, 8), x), "new_tile": [1, 0], "tag": [0, 0]}
        result = run_check(unit, testbench, tile, i)
        expected = 8 * w * (x if is_signed else x % 256)
        assert (result.unpacked("o")["row"] == expected).all()

    def test_reset(self, testbench, planes):
        unit = LutMatrixUnit(rows=5, cols=2, tag=1, planes=planes)
        tile, i = payloads(unit, [2, 1, 4, 3], np.random.default_rng(6))
        design = emit(unit)
        for cycles in (1, 7, 17, 18, 19, 22, 40):
            run_check(unit, testbench, tile, i, design=design, aborted_cycles=cycles)


class TestTiming:
    def test_rows_follow_each_other(self, testbench):
        unit = LutMatrixUnit(rows=8, cols=1)
        tile, i = payloads(unit, [32, 32, 40], np.random.default_rng(4))
        result = run_check(unit, testbench, tile, i)
        # A tile loads in 32 cycles, so that as many rows per tile leave no gap.
        assert result.transfers["i"].tolist() == list(range(32, 32 + 104))

    def test_tile_loads_under_rows(self, testbench):
        # The first row of a tile frees the other bank: its first beat comes in the same cycle.
        unit = LutMatrixUnit(rows=4, cols=1)
        tile, i = payloads(unit, [1] * 5, np.random.default_rng(5))
        result = run_check(unit, testbench, tile, i)
        assert result.transfers["i"].tolist() == [16, 32, 48, 64, 80]
        assert result.transfers["tile"][::4].tolist() == [0, 16, 32, 48, 64]

    def test_row_takes_its_planes(self, testbench):
        unit = LutMatrixUnit(rows=2, cols=1, planes="serial")
        tile, i = payloads(unit, [3, 3, 3], np.random.default_rng(5))
        tile["planes"] = np.repeat([8, 3, 1], 2)
        result = run_check(unit, testbench, tile, i)
        assert result.transfers["i"].tolist() == [11, 19, 27, 30, 33, 36, 37, 38, 39]


class TestCompiled:
    @pytest.mark.parametrize("planes", PLANES)
    def test_all_products(self, require, testbench, planes):
        """Each of the 65,536 pairs, of either sign, in each place of a group."""
        require("compiler")
        unit = LutMatrixUnit(rows=4, cols=16, planes=planes)
        design = emit(unit)
        # Under tile t, all columns of row r have 16 weights of their own; operands pass by.
        weights = np.arange(-128, 128).reshape(16, 1, 16)
        tile = {
            "row": np.repeat(weights, 4, axis=1).reshape(-1, 16)[np.r_[:64, :64]],
            "is_signed": np.repeat([0, 1], 64),
        }
        if planes == "serial":
            tile["planes"] = np.full(128, 8)
        for place in range(4) if planes == "parallel" else [3]:
            row = np.zeros((32 * 256, 4), int)
            row[:, place] = np.tile(np.arange(-128, 128), 32)
            new_tile = (np.arange(len(row)) % 256 == 0).astype(int)
            i = {"row": row, "new_tile": new_tile, "tag": np.zeros(len(row), int)}
            run_check(unit, testbench, tile, i, design=design, engine="cxxrtl", max_cycles=100_000)

    @pytest.mark.parametrize(("rows", "cols"), [(32, 32)])
    def test_large(self, require, testbench, rows, cols):
        require("compiler")
        unit = LutMatrixUnit(rows=rows, cols=cols, tag=9)
        design = emit(unit)
        rng = np.random.default_rng([rows, cols])
        for stall, extreme in [(0, False), (0.3, False), (0.1, True)]:
            tile, i = payloads(unit, [1, rows - 1, rows, 2, 299, 1], rng, extreme=extreme)
            options = {"stall": stall, "aborted_cycles": 2 * rows + 5, "engine": "cxxrtl"}
            run_check(unit, testbench, tile, i, design=design, **options)
        for m, k, n in [(1, 1, 1), (7, 33, 40), (130, 64, 32)]:
            a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
            tile, i = program(unit, a, b)
            result = run_check(unit, testbench, tile, i, design=design, engine="cxxrtl")
            assert np.array_equal(read_back(unit, result.unpacked("o"), (m, k, n)), a @ b)
            tiles = -(-k // rows) * -(-n // cols)
            most = tiles * max(m, unit.load_cycles) + 2 * rows + cols + 8
            assert result.transfers["o"][-1] - result.transfers["i"][0] < most


class TestStructure:
    """What UltraScale+ is given: the same outputs in the same cycles."""

    @pytest.mark.parametrize("planes", PLANES)
    def test_verilog(self, require, testbench, planes):
        require("compiler")
        require("verilator")
        unit = LutMatrixUnit(rows=6, cols=2, tag=4, planes=planes)
        design = emit(unit, verilog=True, target=UltraScale())
        assert "RAM32M16" in design.verilog and "CARRY8" in design.verilog
        twin = emit(unit)
        rng = np.random.default_rng(7)
        for stall, extreme in [(0, True), (0.3, False)]:
            tile, i = payloads(unit, [3, 6, 1, 2, 40, 1], rng, extreme=extreme)
            options = {"stall": stall, "aborted_cycles": 21}
            built = run_check(
                unit, testbench, tile, i, design=design, engine="verilator", **options
            )
            plain = run_check(unit, testbench, tile, i, design=twin, **options)
            for name, cycles in plain.transfers.items():
                assert np.array_equal(cycles, built.transfers[name])

    @pytest.mark.parametrize("planes", PLANES)
    def test_lint(self, require, tmp_path, planes):
        require("verilator")
        require("pyslang")
        unit = LutMatrixUnit(rows=5, cols=2, planes=planes)
        design = emit(unit, verilog=True, target=UltraScale())
        file = tmp_path / "with_models.v"
        file.write_text(design.verilog + design.primitives)
        assert lint(file) == []

    def test_modules(self):
        names = re.findall(r"^module \\(\S+)$", emit(LutMatrixUnit(rows=32, cols=32)).rtlil, re.M)
        for kind in ("lut_band", "lut_block", "lut_column", "subset_table", "sum_tree"):
            assert sum(kind in name for name in names) == 1
