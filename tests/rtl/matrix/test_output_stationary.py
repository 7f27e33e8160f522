import itertools
import re

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.formats import F16, I4, I8, U8, Integer
from qkloom.rtl.matrix.element import MULTIPLIERS
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.tb.engines import check
from qkloom.tb.matrix.output_stationary import model, program, read_back

SIZES = [(1, 1), (1, 6), (6, 1), (4, 4), (3, 5)]
PACES = [(1, 0.5, 0.5), (0.5, 1, 1), (0.6, 0.6, 0.2)]


def payloads(unit, folds, rng, *, extreme=False):
    """Random operands of folds that are as many beats long as ``folds`` says."""

    def draw(number, shape):
        if extreme:
            return rng.choice([number.min_raw, number.max_raw], shape)
        return rng.integers(number.min_raw, number.max_raw + 1, shape)

    p, n = unit.parameters, sum(folds)
    last = np.concatenate([np.arange(beats) == beats - 1 for beats in folds])
    return (
        {"row": draw(p["a"], (n, p["rows"])), "last": last},
        {"row": draw(p["b"], (n, p["cols"])), "last": last},
    )


def equal(got, expected):
    return all(np.array_equal(got[name], expected[name]) for name in expected)


class TestConstructor:
    def test_attributes(self):
        unit = OutputStationary(rows=3, cols=5)
        assert (unit.latency, unit.acc_width) == (10, 32)
        assert OutputStationary(rows=3, cols=5, acc_width=40).acc_width == 40
        assert OutputStationary(rows=3, cols=5, multiplier="lut").latency == 11

    @pytest.mark.parametrize(
        ("a", "b", "depth", "width"),
        [(I8, I8, 1, 16), (I8, I8, 1000, 26), (I4, I8, 4, 14), (U8, I8, 4, 18), (U8, U8, 4, 19)],
    )
    def test_acc_width(self, a, b, depth, width):
        assert OutputStationary(rows=1, cols=1, a=a, b=b, depth=depth).acc_width == width
        products = [x * y for x in (a.min_raw, a.max_raw) for y in (b.min_raw, b.max_raw)]
        assert depth * max(products) < 1 << width - 1
        assert depth * min(products) >= -(1 << width - 1)

    def test_signature(self):
        unit = OutputStationary(rows=2, cols=4, a=I4, depth=2)

        def items(shape, n):
            return stream.Signature(
                data.StructLayout({"row": data.ArrayLayout(shape, n), "last": 1})
            )

        assert unit.signature == wiring.Signature(
            {"i_a": In(items(I4, 2)), "i_b": In(items(I8, 4)), "o": Out(items(Integer(13), 4))}
        )

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"rows": 0}, ValueError, "Number of rows must be a positive integer, not 0"),
            ({"cols": "2"}, TypeError, "Number of columns must be a positive integer, not '2'"),
            ({"depth": 0}, ValueError, "Depth must be a positive integer, not 0"),
            ({"a": F16}, TypeError, "Left operand must be an integer format, not F16"),
            ({"b": 8}, TypeError, "Right operand must be an integer format, not 8"),
            (
                {"depth": 100, "acc_width": 22},
                ValueError,
                "Accumulator must have 23 bits or more for 100 products of I8 and I8, not 22",
            ),
            (
                {"acc_width": "32"},
                TypeError,
                "Width of the accumulator must be a positive integer, not '32'",
            ),
            ({"queue": 2.5}, TypeError, "Depth of the queue must be a positive integer, not 2.5"),
            ({"queue": 1}, ValueError, "Queue must hold the 2 rows of a fold or more, not 1"),
            (
                {"multiplier": "luts"},
                ValueError,
                "Multiplier must be one of 'plain', 'lut', not 'luts'",
            ),
            (
                {"multiplier": "lut", "a": Integer(12), "b": Integer(12)},
                ValueError,
                (
                    "Operands of a Booth product must have 2 to 8 bits, one of them up to 16, "
                    "not I12 and I12; the plain multiplier takes any"
                ),
            ),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            OutputStationary(**{"rows": 2, "cols": 2, **changes})


class TestValues:
    @pytest.mark.parametrize(
        ("rows", "cols", "pace_a", "pace_b", "pace_o", "multiplier"),
        [(*size, *pace, "plain") for size in SIZES for pace in PACES]
        + [(8, 8, 0.8, 0.7, 0.6, "plain"), (17, 5, 0.8, 0.7, 0.6, "plain")]
        + [(*size, 0.6, 0.6, 0.6, "lut") for size in (*SIZES, (17, 2))],
    )
    def test_stalls(self, run, rows, cols, pace_a, pace_b, pace_o, multiplier):
        rng = np.random.default_rng([rows, cols])
        unit = OutputStationary(
            rows=rows,
            cols=cols,
            depth=64,
            queue=rows + rng.integers(3).item(),
            multiplier=multiplier,
        )
        folds = [1, 2, rows, rows + 1, 1, 1, 3]
        i_a, i_b = payloads(unit, folds, rng)
        beats = sum(folds) / min(pace_a, pace_b) + len(folds) * (rows / pace_o + cols + 6)
        pace = {"i_a": pace_a, "i_b": pace_b, "o": pace_o}
        got, logs = run(unit, {"i_a": i_a, "i_b": i_b}, cycles=int(1.3 * beats) + 60, pace=pace)
        assert equal(got, model(unit, i_a, i_b))
        assert logs["i_a"].cycles == logs["i_b"].cycles

    @pytest.mark.parametrize("ends", [("i_a",), ("i_b",), ("i_a", "i_b")])
    def test_last(self, run, ends):
        """Either operand ends the fold."""
        unit = OutputStationary(rows=2, cols=3)
        i_a, i_b = payloads(unit, [3, 2, 1], np.random.default_rng(7))
        expected = model(unit, i_a, i_b)
        inputs = {
            name: fields if name in ends else {**fields, "last": 0}
            for name, fields in [("i_a", i_a), ("i_b", i_b)]
        }
        got, _ = run(unit, inputs, cycles=40)
        assert equal(got, expected)

    @pytest.mark.parametrize(("a", "b"), [(I8, I8), (I4, I4), (U8, I8), (I4, U8), (U8, U8)])
    @pytest.mark.parametrize(
        ("extreme", "multiplier"), [(False, "plain"), (True, "plain"), (True, "lut")]
    )
    def test_formats(self, run, a, b, extreme, multiplier):
        unit = OutputStationary(rows=3, cols=4, a=a, b=b, depth=8, multiplier=multiplier)
        i_a, i_b = payloads(unit, [8, 5, 1, 2], np.random.default_rng(1), extreme=extreme)
        got, _ = run(unit, {"i_a": i_a, "i_b": i_b}, cycles=60)
        assert equal(got, model(unit, i_a, i_b))

    @pytest.mark.parametrize(("a", "b"), [(-128, -128), (-128, 127), (127, 127)])
    @pytest.mark.parametrize("multiplier", MULTIPLIERS)
    def test_largest_sums(self, run, a, b, multiplier):
        unit = OutputStationary(rows=2, cols=2, depth=16, multiplier=multiplier)
        last = np.arange(16) == 15
        inputs = {"i_a": {"row": [a] * 2, "last": last}, "i_b": {"row": [b] * 2, "last": last}}
        got, _ = run(unit, inputs, cycles=40)
        assert unit.acc_width == 20
        assert got["row"].tolist() == [[16 * a * b] * 2] * 2

    @pytest.mark.parametrize("shape", [(5, 9, 7), (1, 4, 3), (6, 1, 8)])
    def test_product(self, run, shape):
        m, k, n = shape
        unit = OutputStationary(rows=4, cols=3)
        rng = np.random.default_rng(2)
        a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
        i_a, i_b = program(unit, a, b)
        got, _ = run(unit, {"i_a": i_a, "i_b": i_b}, cycles=120)
        assert np.array_equal(read_back(unit, got, shape), a @ b)


def bound(unit, shape):
    """Cycles that a product may take, from the first beat taken to the last result."""
    m, k, n = shape
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    return -(-m // rows) * -(-n // cols) * max(k, rows) + rows + cols + 8


class TestTiming:
    @pytest.mark.parametrize("k", [1, 3, 4, 5, 16])
    @pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 7), (16, 2)])
    @pytest.mark.parametrize("multiplier", MULTIPLIERS)
    def test_bound(self, run, m, k, n, multiplier):
        unit = OutputStationary(rows=4, cols=3, multiplier=multiplier)
        rng = np.random.default_rng(3)
        i_a, i_b = program(unit, rng.integers(-9, 9, (m, k)), rng.integers(-9, 9, (k, n)))
        most = bound(unit, (m, k, n))
        got, logs = run(unit, {"i_a": i_a, "i_b": i_b}, cycles=most)
        assert equal(got, model(unit, i_a, i_b))
        # Sums leave a row per cycle, and as far apart as the folds' last beats.
        ends = np.array(logs["i_a"].cycles)[i_a["last"] == 1]
        assert (np.diff(ends) == max(k, 4)).all()
        assert (
            logs["o"].cycles == (ends[:, None] + unit.latency + np.arange(4)).reshape(-1).tolist()
        )
        assert logs["o"].cycles[-1] - logs["i_a"].cycles[0] < most

    def test_held_output(self, run):
        """Nothing is lost while the output is held; beats that need no room still move."""
        unit = OutputStationary(rows=3, cols=2, queue=7)
        i_a, i_b = payloads(unit, [1, 2, 3, 1], np.random.default_rng(4))
        inputs = {"i_a": i_a, "i_b": i_b}
        got, logs = run(unit, inputs, cycles=60, pace={"o": 0})
        assert len(logs["i_a"].items) == 1 + 2 + 2
        assert logs["o"].valid_cycles[0] == logs["i_a"].cycles[0] + unit.latency
        got, _ = run(OutputStationary(rows=3, cols=2, queue=7), inputs, cycles=80, pace={"o": 0.3})
        assert equal(got, model(unit, i_a, i_b))


class TestReset:
    """Whatever is under way when reset comes, what follows is right and nothing else comes out."""

    @pytest.mark.parametrize("cycles", [1, 4, 5, 6, 7, 8, 12, 17])
    @pytest.mark.parametrize("multiplier", MULTIPLIERS)
    def test_reset(self, testbench, cycles, multiplier):
        unit = OutputStationary(rows=4, cols=3, multiplier=multiplier)
        i_a, i_b = payloads(unit, [1] * 3 + [2] * 3, np.random.default_rng(6))
        inputs = {"i_a": i_a, "i_b": i_b}
        bench = testbench(unit, inputs, model(unit, i_a, i_b), aborted_cycles=cycles)
        check(emit(unit), bench, "pysim")


class TestCompiled:
    @pytest.mark.parametrize(("rows", "cols", "multiplier"), [(20, 18, "plain"), (36, 2, "lut")])
    def test_large(self, require, testbench, rows, cols, multiplier):
        require("compiler")
        unit = OutputStationary(rows=rows, cols=cols, depth=128, multiplier=multiplier)
        design = emit(unit)
        rng = np.random.default_rng([rows, cols])
        for stall, extreme in [(0, False), (0.3, False), (0.1, True)]:
            folds = [1, rows - 1, rows, 2, rows + 1, 128, 1, 1]
            i_a, i_b = payloads(unit, folds, rng, extreme=extreme)
            inputs = {"i_a": i_a, "i_b": i_b}
            options = {"stall": stall, "aborted_cycles": 2 * rows + 5}
            check(design, testbench(unit, inputs, model(unit, i_a, i_b), **options))

    def test_bound(self, require, testbench):
        require("compiler")
        unit = OutputStationary(rows=20, cols=18, depth=128)
        design = emit(unit)
        for shape in itertools.product([1, 20, 45], [1, 19, 21, 80], [17, 18, 19]):
            m, k, n = shape
            rng = np.random.default_rng(shape)
            a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
            i_a, i_b = program(unit, a, b)
            bench = testbench(
                unit,
                {"i_a": i_a, "i_b": i_b},
                model(unit, i_a, i_b),
                max_cycles=bound(unit, shape),
            )
            assert np.array_equal(read_back(unit, check(design, bench).unpacked("o"), shape), a @ b)


def test_conversion():
    assert "group_0_0" in rtlil.convert(OutputStationary(rows=2, cols=3))
    names = re.findall(
        r"^module \\(\w+?)_[a-z]+\d", emit(OutputStationary(rows=17, cols=18)).rtlil, re.M
    )
    assert names.count("output_group") == 4
    assert names.count("output_column") == 2
    assert names.count("output_element") == 1
    # Queues of three columns each, side by side.
    assert names.count("queue") == 1
    assert "queue_15" in emit(OutputStationary(rows=2, cols=18)).rtlil
