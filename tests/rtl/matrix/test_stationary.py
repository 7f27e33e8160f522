import itertools
import re
from collections import Counter

import numpy as np
import pytest
from amaranth.hdl import Shape, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.formats import F16, I4, I8, U8, Fixed, Integer
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.engines import check
from qkloom.tb.matrix.stationary import model, program, read_back

SIZES = [(1, 1), (1, 6), (6, 1), (4, 4), (3, 5), (8, 8), (17, 5)]
FORMATS = [(I8, I8), (I4, I4), (I8, I4), (I4, I8), (U8, U8)]


def payloads(unit, passes, rng, *, extreme=False):
    """Random tiles, each of random sign, and as many rows under each as ``passes`` says."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    streaming, stationary = unit.parameters["stream"], unit.parameters["stationary"]

    def draw(number, shape):
        if extreme:
            return rng.choice([number.min_raw, number.max_raw], shape)
        return rng.integers(number.min_raw, number.max_raw + 1, shape)

    n_rows = sum(passes)
    tile = {
        "row": draw(stationary, (len(passes) * rows, cols)),
        "is_signed": np.repeat(rng.integers(0, 2, len(passes)), rows),
    }
    new_tile = np.concatenate([np.arange(n) == 0 for n in passes]).astype(int)
    tag = rng.integers(0, 1 << Shape.cast(unit.parameters["tag"]).width, n_rows)
    return tile, {"row": draw(streaming, (n_rows, rows)), "new_tile": new_tile, "tag": tag}


def modules(text):
    return re.findall(r"^module \\(\S+)$", text, re.M)


def equal(got, expected):
    return all(np.array_equal(got[name], expected[name]) for name in expected)


class TestConstructor:
    def test_attributes(self):
        unit = MatrixUnit(rows=3, cols=5)
        assert (unit.latency, unit.load_cycles, unit.acc_width) == (9, 3, 18)
        assert unit.parameters == {
            "rows": 3,
            "cols": 5,
            "stream": I8,
            "stationary": I8,
            "mixed_signs": True,
            "tag": unsigned(0),
        }

    @pytest.mark.parametrize(
        ("rows", "streaming", "stationary", "width"),
        [(1, I8, I8, 16), (32, I8, I8, 21), (33, I4, I8, 18), (16, I4, I4, 12), (2, U8, U8, 18)],
    )
    def test_acc_width(self, rows, streaming, stationary, width):
        unit = MatrixUnit(rows=rows, cols=1, stream=streaming, stationary=stationary)
        assert unit.acc_width == width
        # Signed or not as the tile says, and all products of one sign.
        low, high = -(1 << streaming.width - 1), (1 << streaming.width) - 1
        ends = (low, high), (stationary.min_raw, stationary.max_raw)
        sums = [rows * x * w for x, w in itertools.product(*ends)]
        assert min(sums) >= -(1 << width - 1) and max(sums) < 1 << width - 1

    def test_signature(self):
        layout = data.StructLayout({"to": 3})
        unit = MatrixUnit(rows=2, cols=4, stream=I4, tag=layout)
        tile = {"row": data.ArrayLayout(I8, 4), "is_signed": 1}
        i = {"row": data.ArrayLayout(I4, 2), "new_tile": 1, "tag": layout}
        o = {"row": data.ArrayLayout(Integer(13), 4), "tag": layout}
        assert unit.signature == wiring.Signature(
            {
                "tile": In(stream.Signature(data.StructLayout(tile))),
                "i": In(stream.Signature(data.StructLayout(i))),
                "o": Out(stream.Signature(data.StructLayout(o), always_ready=True)),
            }
        )

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"rows": 0}, ValueError, "Number of rows must be a positive integer, not 0"),
            ({"cols": -1}, ValueError, "Number of columns must be a positive integer, not -1"),
            ({"rows": 2.0}, TypeError, "Number of rows must be a positive integer, not 2.0"),
            ({"stream": F16}, TypeError, "Streaming operand must be an integer format, not F16"),
            ({"stationary": 8}, TypeError, "Stationary operand must be an integer format, not 8"),
            (
                {"stationary": Fixed(4, 4)},
                TypeError,
                "Stationary operand must be an integer format, not Fixed(4, 4)",
            ),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            MatrixUnit(**{"rows": 2, "cols": 2, **changes})


class TestValues:
    @pytest.mark.parametrize(
        ("rows", "cols", "tile_pace", "pace"),
        [(*size, *pace) for size in SIZES[:5] for pace in [(0.5, 0.6), (1, 0.3), (0.3, 1)]]
        + [(8, 8, 0.6, 0.6), (17, 5, 0.7, 0.7)],
    )
    def test_stalls(self, run, rows, cols, tile_pace, pace):
        rng = np.random.default_rng([rows, cols])
        unit = MatrixUnit(rows=rows, cols=cols, tag=8)
        tile, i = payloads(unit, [1, rows, rows + 1, 1, 2, max(rows - 1, 1)], rng)
        paces = {"tile": tile_pace, "i": pace}
        beats = len(tile["row"]) / tile_pace + len(i["row"]) / pace
        got, logs = run(unit, {"tile": tile, "i": i}, cycles=int(1.5 * beats) + 80, pace=paces)
        assert equal(got, model(unit, tile, i))
        ages = np.subtract(logs["o"].cycles, logs["i"].cycles)
        assert (ages == unit.latency).all()
        # A row that needs a tile came after all of that tile.
        starts = np.array(logs["i"].cycles)[i["new_tile"] == 1]
        assert (starts > logs["tile"].cycles[rows - 1 :: rows]).all()

    @pytest.mark.parametrize(("streaming", "stationary"), FORMATS)
    @pytest.mark.parametrize("extreme", [False, True])
    def test_formats(self, run, streaming, stationary, extreme):
        unit = MatrixUnit(rows=5, cols=3, stream=streaming, stationary=stationary)
        rng = np.random.default_rng(1)
        tile, i = payloads(unit, [5] * 6, rng, extreme=extreme)
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=70)
        assert equal(got, model(unit, tile, i))

    @pytest.mark.parametrize("is_signed", [0, 1])
    @pytest.mark.parametrize(("x", "w"), [(-128, -128), (-1, -128), (-1, 127), (-128, 127)])
    def test_largest_sums(self, run, is_signed, x, w):
        # -1 is 255 under a tile of unsigned operands, -128 is 128.
        unit = MatrixUnit(rows=8, cols=2)
        tile = {"row": np.full((8, 2), w), "is_signed": np.full(8, is_signed)}
        i = {"row": np.full((1, 8), x), "new_tile": 1, "tag": 0}
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=30)
        assert got["row"].tolist() == [[8 * w * (x if is_signed else x % 256)] * 2]

    @pytest.mark.parametrize(
        ("shape", "is_signed"), [((5, 9, 7), True), ((1, 4, 3), False), ((6, 3, 8), False)]
    )
    def test_product(self, run, shape, is_signed):
        m, k, n = shape
        unit = MatrixUnit(rows=4, cols=3, tag=3)
        rng = np.random.default_rng(2)
        low = -128 if is_signed else 0
        a, b = rng.integers(low, low + 256, (m, k)), rng.integers(-128, 128, (k, n))
        tile, i = program(unit, a, b, is_signed=is_signed)
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=120)
        assert np.array_equal(read_back(unit, got, shape), a @ b)


def bound(unit, shape):
    """Cycles that a product may take, from the first beat taken to the last result."""
    m, k, n = shape
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    tiles = -(-k // rows) * -(-n // cols)
    return tiles * max(m, unit.load_cycles) + 2 * rows + cols + 8


class TestTiming:
    @pytest.mark.parametrize("m", [1, 3, 4, 5, 16])
    @pytest.mark.parametrize(("k", "n"), [(1, 1), (5, 7), (16, 2)])
    def test_bound(self, run, m, k, n):
        unit = MatrixUnit(rows=4, cols=3)
        rng = np.random.default_rng(3)
        tile, i = program(unit, rng.integers(-9, 9, (m, k)), rng.integers(-9, 9, (k, n)))
        most = bound(unit, (m, k, n))
        got, logs = run(unit, {"tile": tile, "i": i}, cycles=most)
        assert equal(got, model(unit, tile, i))
        # The first tile loads, the others do so behind rows; 4 + 3 + 1 cycles to the result.
        n_tiles = len(tile["row"]) // 4
        assert logs["o"].cycles[-1] == 4 + (n_tiles - 1) * max(m, 4) + m - 1 + unit.latency
        assert logs["o"].cycles[-1] - logs["tile"].cycles[0] < most

    def test_no_bubble(self, run):
        # As many rows per tile as a tile has: rows and tiles both move in every cycle.
        unit = MatrixUnit(rows=4, cols=2)
        tile, i = payloads(unit, [4] * 6, np.random.default_rng(4))
        _, logs = run(unit, {"tile": tile, "i": i}, cycles=50)
        assert logs["tile"].cycles == list(range(24))
        assert logs["i"].cycles == list(range(4, 28))

    def test_tile_waits_for_shadow(self, run):
        unit = MatrixUnit(rows=3, cols=2)
        tile, _ = payloads(unit, [1, 1], np.random.default_rng(5))
        _, logs = run(unit, {"tile": tile}, cycles=20)
        assert logs["tile"].cycles == [0, 1, 2]
        assert logs["tile"].valid_cycles == list(range(20))


class TestReset:
    """Whatever is under way when reset comes, what follows is right and nothing else comes out."""

    @pytest.mark.parametrize("cycles", [1, 3, 4, 7, 8, 12, 17])
    def test_reset(self, testbench, cycles):
        unit = MatrixUnit(rows=3, cols=4, tag=1)
        tile, i = payloads(unit, [2, 1, 4, 3], np.random.default_rng(6))
        inputs = {"tile": tile, "i": i}
        bench = testbench(unit, inputs, model(unit, tile, i), aborted_cycles=cycles)
        check(emit(unit), bench, "pysim")


class TestCompiled:
    @pytest.mark.parametrize(("rows", "cols"), [(20, 18), (32, 32)])
    def test_large(self, require, testbench, rows, cols):
        require("compiler")
        unit = MatrixUnit(rows=rows, cols=cols, tag=9)
        design = emit(unit)
        rng = np.random.default_rng([rows, cols])
        for stall, extreme in [(0, False), (0.3, False), (0.1, True)]:
            tile, i = payloads(unit, [1, rows - 1, rows, 2, rows + 1, 99, 1], rng, extreme=extreme)
            inputs = {"tile": tile, "i": i}
            options = {"stall": stall, "aborted_cycles": 2 * rows + 5}
            result = check(design, testbench(unit, inputs, model(unit, tile, i), **options))
            ages = result.transfers["o"] - result.transfers["i"]
            assert (ages == unit.latency).all()

    def test_bound(self, require, testbench):
        require("compiler")
        unit = MatrixUnit(rows=20, cols=18, tag=9)
        design = emit(unit)
        for shape in itertools.product([1, 19, 21, 80], [1, 20, 45], [17, 18, 19]):
            m, k, n = shape
            rng = np.random.default_rng(shape)
            a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
            tile, i = program(unit, a, b)
            bench = testbench(
                unit,
                {"tile": tile, "i": i},
                model(unit, tile, i),
                max_cycles=bound(unit, shape),
            )
            assert np.array_equal(read_back(unit, check(design, bench).unpacked("o"), shape), a @ b)


def test_conversion():
    design = emit(MatrixUnit(rows=17, cols=18, tag=4))
    # Groups are 16 or 1 rows high and 16 or 2 columns wide; columns differ in height only.
    kinds = Counter(re.match("[a-z]+_?[a-z]*(?=_)", name)[0] for name in modules(design.rtlil))
    assert (kinds["stationary_group"], kinds["stationary_column"]) == (4, 2)
    assert kinds["stationary_element"] == 1
    assert all("stationary_column" in name for name in design.boundaries)
