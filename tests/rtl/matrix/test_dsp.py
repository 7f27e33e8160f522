import re
from itertools import product

import numpy as np
import pytest
from amaranth.hdl import Shape
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import F16, I4, I8, U8, Integer
from qkloom.rtl.matrix.dsp import (
    DspMatrixUnit,
    PackedChain,
    chain_lengths,
    chain_places,
)
from qkloom.rtl.matrix.packing import Packing
from qkloom.tb.engines import check
from qkloom.tb.matrix.stationary import model, program, read_back

SIZES = [(1, 1), (1, 5), (5, 1), (3, 4), (9, 2), (17, 3)]


def payloads(unit, passes, rng, *, extreme=False):
    """Random tiles, and as many rows under each as ``passes`` says."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    streaming, stationary = unit.parameters["stream"], unit.parameters["stationary"]

    def draw(number, shape):
        if extreme:
            return rng.choice([number.min_raw, number.max_raw], shape)
        return rng.integers(number.min_raw, number.max_raw + 1, shape)

    if unit.parameters["mixed_signs"]:
        is_signed = rng.integers(0, 2, len(passes))
    else:
        is_signed = np.full(len(passes), streaming.is_signed, int)
    tile = {
        "row": draw(stationary, (len(passes) * rows, cols)),
        "is_signed": np.repeat(is_signed, rows),
    }
    new_tile = np.concatenate([np.arange(n) == 0 for n in passes]).astype(int)
    tag = np.arange(sum(passes)) % (1 << Shape.cast(unit.parameters["tag"]).width)
    return tile, {"row": draw(streaming, (sum(passes), rows)), "new_tile": new_tile, "tag": tag}


def equal(got, expected):
    return all(np.array_equal(got[name], expected[name]) for name in expected)


class TestChains:
    @pytest.mark.parametrize("mixed", [False, True])
    def test_lengths(self, mixed):
        packing = Packing(I8, I8, mixed)
        for rows in range(1, 70):
            lengths = chain_lengths(rows, packing)
            assert sum(lengths) == rows
            assert len(lengths) == -(-rows // packing.rows)
            assert lengths[0] <= packing.rows
            assert lengths == sorted(lengths, reverse=True)
            assert lengths[0] - lengths[-1] <= 1

    def test_places(self):
        packing = Packing(I8, I8, False)
        assert list(chain_places(17, packing)) == [*range(6), *range(6), *range(1, 6)]
        # A tile row comes after the operand that the row before it in its shadow still waits for.
        for rows in range(1, 70):
            assert all(place <= row for row, place in enumerate(chain_places(rows, packing)))

    @pytest.mark.parametrize("rows", [0, 9])
    def test_too_long(self, rows):
        message = f"A chain of I8_by_I8 has 1 to 8 slices, not {rows}"
        with pytest.raises(ValueError, match=f"^{message}$"):
            PackedChain(rows=rows, packing=Packing(I8, I8, False))


class TestChain:
    def test_timing(self, run_chain):
        packing = Packing(I8, I8, False)
        # Two slices: elements 3 and -5, then 7 and 100; the operand of the second a cycle later.
        o = run_chain(packing, weights=[[3, -5], [7, 100]], operands=[[11, -2]])
        assert o == [11 * 3 - 2 * 7, 11 * -5 - 2 * 100]


@pytest.fixture
def run_chain():
    """Load a chain, swap, and return the sums that one row of operands gives."""

    def run_chain(packing, *, weights, operands):
        rows = len(weights)
        chain = PackedChain(rows=rows, packing=packing)
        width, mask = packing.stationary.width, (1 << packing.operand_width) - 1
        got = []

        async def bench(ctx):
            for k, elements in enumerate(weights):
                word = sum(w + packing.offset << n * width for n, w in enumerate(elements))
                ctx.set(chain.i_weight, word)
                ctx.set(chain.i_load, 1 << k)
                await ctx.tick()
            ctx.set(chain.i_load, 0)
            (row,) = operands
            for k, b in enumerate(row):
                ctx.set(chain.i, (b & mask) << k * packing.operand_width)
                ctx.set(chain.i_swap, 1 << k)
                await ctx.tick()
            await ctx.tick().repeat(2)
            o = ctx.get(chain.o)
            for n in range(packing.n_fields):
                field = o >> n * packing.field_width & (1 << packing.field_width) - 1
                got.append(field - packing.bias(rows))

        simulator = Simulator(chain)
        simulator.add_clock(1e-9)
        simulator.add_testbench(bench)
        simulator.run()
        return got

    return run_chain


class TestConstructor:
    def test_attributes(self):
        unit = DspMatrixUnit(rows=32, cols=32, mixed_signs=False)
        assert (unit.n_dsp, unit.load_cycles, unit.acc_width) == (512, 32, 21)
        # 8 slices in a chain; 4 chains and their biases take two levels of adders.
        assert unit.latency == 4 + 8 + 2
        assert unit.packing == Packing(I8, I8, False)
        assert DspMatrixUnit(rows=32, cols=32).latency == 4 + 4 + 2

    @pytest.mark.parametrize(
        ("stream", "stationary", "n_dsp"),
        [(I8, I8, 16), (I4, I8, 16), (I8, I4, 16), (I4, I4, 12), (Integer(16), I8, 28)],
    )
    def test_n_dsp(self, stream, stationary, n_dsp):
        assert DspMatrixUnit(rows=4, cols=7, stream=stream, stationary=stationary).n_dsp == n_dsp

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"rows": 0}, ValueError, "Number of rows must be a positive integer, not 0"),
            ({"stream": F16}, TypeError, "Streaming operand must be an integer format, not F16"),
            (
                {"stationary": Integer(27)},
                ValueError,
                "Stationary operand of a DSP must have at most 26 bits, not I27",
            ),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            DspMatrixUnit(**{"rows": 2, "cols": 2, **changes})


class TestValues:
    @pytest.mark.parametrize(
        ("rows", "cols", "mixed", "tile_pace", "pace"),
        [
            (*size, bool(k % 2), *pace)
            for k, size in enumerate(SIZES)
            for pace in [(0.5, 0.6), (1, 0.3), (0.3, 1)][k % 3 :]
        ],
    )
    def test_stalls(self, run, rows, cols, mixed, tile_pace, pace):
        rng = np.random.default_rng([rows, cols])
        unit = DspMatrixUnit(rows=rows, cols=cols, mixed_signs=mixed, tag=4)
        tile, i = payloads(unit, [1, rows, rows + 1, 1, 2, max(rows - 1, 1)], rng)
        paces = {"tile": tile_pace, "i": pace}
        beats = len(tile["row"]) / tile_pace + len(i["row"]) / pace
        got, logs = run(unit, {"tile": tile, "i": i}, cycles=int(1.5 * beats) + 80, pace=paces)
        assert equal(got, model(unit, tile, i))
        assert (np.subtract(logs["o"].cycles, logs["i"].cycles) == unit.latency).all()

    @pytest.mark.parametrize(
        ("streaming", "stationary", "mixed"),
        [*product([I8, I4], [I8, I4], [False, True]), (U8, U8, False), (I8, U8, True)],
    )
    @pytest.mark.parametrize("extreme", [False, True])
    def test_formats(self, run, streaming, stationary, mixed, extreme):
        unit = DspMatrixUnit(
            rows=5, cols=4, stream=streaming, stationary=stationary, mixed_signs=mixed
        )
        tile, i = payloads(unit, [5] * 6, np.random.default_rng(1), extreme=extreme)
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=70)
        assert equal(got, model(unit, tile, i))

    @pytest.mark.parametrize("is_signed", [0, 1])
    @pytest.mark.parametrize(("x", "w"), [(-128, -128), (-1, -128), (-1, 127), (-128, 127)])
    def test_largest_sums(self, run, is_signed, x, w):
        # -1 is 255 under a tile of unsigned operands, -128 is 128. Longest chains; other extremes
        # beside.
        unit = DspMatrixUnit(rows=8, cols=3, mixed_signs=not is_signed)
        tile = {"row": np.tile([w, -128, 127], (8, 1)), "is_signed": np.full(8, is_signed)}
        i = {"row": np.full((1, 8), x), "new_tile": 1, "tag": 0}
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=40)
        x = x if is_signed else x % 256
        assert got["row"].tolist() == [[8 * w * x, 8 * -128 * x, 8 * 127 * x]]

    def test_product(self, run):
        unit = DspMatrixUnit(rows=4, cols=3, tag=3)
        rng = np.random.default_rng(2)
        a, b = rng.integers(-128, 128, (5, 9)), rng.integers(-128, 128, (9, 7))
        tile, i = program(unit, a, b)
        got, _ = run(unit, {"tile": tile, "i": i}, cycles=120)
        assert np.array_equal(read_back(unit, got, (5, 9, 7)), a @ b)


class TestTiming:
    @pytest.mark.parametrize("rows", [1, 3, 9, 17])
    def test_no_bubble(self, run, rows):
        # As many rows per tile as a tile has: rows and tiles both move in every cycle, the first
        # row of a tile in the very cycle in which the first one under the tile before is taken.
        unit = DspMatrixUnit(rows=rows, cols=2, mixed_signs=False)
        tile, i = payloads(unit, [rows] * 6, np.random.default_rng(4), extreme=True)
        got, logs = run(unit, {"tile": tile, "i": i}, cycles=8 * rows + 40)
        assert logs["tile"].cycles == list(range(6 * rows))
        assert logs["i"].cycles == list(range(rows, 7 * rows))
        assert equal(got, model(unit, tile, i))

    def test_tile_waits_for_shadow(self, run):
        unit = DspMatrixUnit(rows=3, cols=2)
        tile, _ = payloads(unit, [1, 1], np.random.default_rng(5))
        _, logs = run(unit, {"tile": tile}, cycles=20)
        assert logs["tile"].cycles == [0, 1, 2]


class TestReset:
    """Whatever is under way when reset comes, what follows is right and nothing else comes out."""

    @pytest.mark.parametrize("cycles", [1, 3, 4, 7, 8, 12, 17])
    def test_reset(self, testbench, cycles):
        unit = DspMatrixUnit(rows=5, cols=3, tag=1)
        tile, i = payloads(unit, [2, 1, 4, 3], np.random.default_rng(6))
        bench = testbench(unit, {"tile": tile, "i": i}, model(unit, tile, i), aborted_cycles=cycles)
        check(emit(unit), bench, "pysim")


class TestCompiled:
    @pytest.mark.parametrize("mixed", [False, True])
    def test_every_product(self, require, testbench, mixed):
        # All pairs of int8 in both fields, signed and, if they can be mixed, unsigned.
        require("compiler")
        unit = DspMatrixUnit(rows=1, cols=2, mixed_signs=mixed)
        n_tiles = 256 << mixed
        values = np.arange(-128, 128)
        w = np.tile(values, 1 + mixed)
        tile = {
            "row": np.stack([w, (w * 77 + 5 + 128) % 256 - 128], 1),
            "is_signed": np.arange(n_tiles) < 256,
        }
        n_rows = n_tiles * 256
        i = {
            "row": np.tile(values, n_tiles)[:, None],
            "new_tile": (np.arange(n_rows) % 256 == 0).astype(int),
            "tag": np.zeros(n_rows, int),
        }
        bench = testbench(
            unit, {"tile": tile, "i": i}, model(unit, tile, i), max_cycles=n_rows + 1000
        )
        check(emit(unit), bench)

    def test_large(self, require, testbench):
        # Chains of 6, 6 and 5; two blocks, the second one a column wide.
        require("compiler")
        rows = 17
        unit = DspMatrixUnit(rows=rows, cols=33, mixed_signs=False, tag=9)
        design = emit(unit)
        rng = np.random.default_rng(rows)
        for stall, extreme in [(0, False), (0.3, False), (0.1, True)]:
            tile, i = payloads(unit, [1, rows - 1, rows, 2, rows + 1, 99, 1], rng, extreme=extreme)
            options = {"stall": stall, "aborted_cycles": 2 * rows + 5}
            bench = testbench(unit, {"tile": tile, "i": i}, model(unit, tile, i), **options)
            result = check(design, bench)
            ages = result.transfers["o"] - result.transfers["i"]
            assert (ages == unit.latency).all()


def test_conversion():
    design = emit(DspMatrixUnit(rows=17, cols=33, mixed_signs=False))
    names = re.findall(r"^module \\(\S+)$", design.rtlil, re.M)
    # Chains of two lengths, full and half columns, blocks of 32 columns and of one.
    for kind in ("packed_chain", "dsp_column", "dsp_block"):
        assert sum(name.startswith(kind) for name in names) == 2
    assert all("dsp_column" in name for name in design.boundaries)
