"""Stimuli of arrays: every pair of operands, extreme sums, every form of probability digits."""

from collections.abc import Iterator, Sequence

import numpy as np

from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.matrix.interface import WeightStationary
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.tb.lane.row import combine, split
from qkloom.tb.matrix import output_stationary, stationary
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench, pack
from tests.rtl.matrix import test_dsp, test_lut, test_output_stationary

__all__ = ["digits", "every_pair", "extremes", "folds", "longest_folds", "mixture"]


def every_pair(unit: WeightStationary) -> Testbench:
    """Multiply all pairs, of either sign, in every place of the array; others beside are random.

    In each place, every number is stationary while every number streams.
    """
    stream, weight = unit.parameters["stream"], unit.parameters["stationary"]
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    signs = (0, 1) if unit.parameters["mixed_signs"] else (int(stream.is_signed),)
    n, span = 1 << weight.width, 1 << stream.width
    rng = np.random.default_rng([rows, cols])
    # Under tile k, the number in column c is number k + 77 c.
    numbers = weight.min_raw + (np.arange(n)[:, None, None] + 77 * np.arange(cols)) % n
    tiles = np.broadcast_to(numbers, (n, rows, cols)).reshape(-1, cols)
    row = rng.integers(0, span, (len(signs) * n, rows, span, rows))
    for place in range(rows):
        row[:, place, :, place] = np.arange(span)
    row = row.reshape(-1, rows) + stream.min_raw
    tile = {"row": np.tile(tiles, (len(signs), 1)), "is_signed": np.repeat(signs, n * rows)}
    return _bench(unit, tile, row, rows * span, Stall())


def extremes(unit: WeightStationary) -> Testbench:
    """Multiply columns and rows that make the largest, smallest and most restless sums."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    columns = _patterns(unit.parameters["stationary"], rows)
    row = _patterns(unit.parameters["stream"], rows)
    signs = (0, 1) if unit.parameters["mixed_signs"] else (1,)
    # Every pattern in every column once.
    order = (np.arange(len(columns))[:, None] + np.arange(cols)) % len(columns)
    tiles = columns[order].swapaxes(1, 2).reshape(-1, cols)
    tile = {
        "row": np.tile(tiles, (len(signs), 1)),
        "is_signed": np.repeat(signs, len(columns) * rows),
    }
    return _bench(unit, tile, np.tile(row, (len(signs) * len(columns), 1)), len(row), Stall(0.1))


def digits(unit: WeightStationary) -> Testbench:
    """Multiply probabilities of every width by values: a pass under the same tile for each digit.

    The sums of the digits, put together, are NumPy's product of the probabilities.
    """
    stream, weight = unit.parameters["stream"], unit.parameters["stationary"]
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    rng = np.random.default_rng(rows)
    values = rng.choice([weight.min_raw, weight.max_raw], (rows, cols))
    values[:, 0], values[::2, -1] = weight.min_raw, weight.max_raw
    tiles, signs, streamed, checks = [], [], [], []
    for p_width in Numerics.p_widths(stream.width):
        numerics = Numerics(
            size=rows,
            head_dim=rows,
            tokens=1024,
            p_width=p_width,
            stream_width=stream.width,
            stationary_width=weight.width,
        )
        p = rng.integers(0, numerics.p_max + 1, (24, rows))
        p[0], p[1], p[2, ::2] = numerics.p_max, 0, numerics.p_max
        base = numerics.digit_base  # about half of it, the low digit changes its sign
        p[3:9] = np.minimum(base // 2 + np.arange(-3, 3)[:, None], numerics.p_max)
        p[9:15] = np.maximum(numerics.p_max - base // 2 + np.arange(-3, 3)[:, None], 0)
        parts = split(p, numerics)
        checks.append((numerics, p, slice(len(streamed), len(streamed) + len(parts))))
        for part in parts:
            tiles.append(values)
            signs.append(int(numerics.digit_is_signed))
            # The bits of a digit, as a number of the stream's own format.
            streamed.append((part - stream.min_raw) % (1 << stream.width) + stream.min_raw)
    tile = {"row": np.concatenate(tiles), "is_signed": np.repeat(signs, rows)}
    bench = _bench(unit, tile, np.concatenate(streamed), 24, Stall(0.1))
    sums = _expected(unit, *_payloads(unit, tile, np.concatenate(streamed), 24))["row"]
    sums = sums.reshape(len(streamed), 24, cols)
    for numerics, p, places in checks:
        if not np.array_equal(combine(sums[places], numerics), p @ values):
            raise ValueError(f"Digits of {numerics.p_width} bits do not make up the product")
    return bench


def mixture(unit: WeightStationary) -> Iterator[Testbench]:
    """Stream more and fewer rows than a tile has, with and without stalls; reset in between."""
    rows = unit.parameters["rows"]
    for stall, extreme in [(0.0, False), (0.3, False), (0.1, True)]:
        rng = np.random.default_rng([rows, int(10 * stall)])
        counts = [1, rows - 1, rows, 2, rows + 1, 70, 1]
        module = test_lut if "planes" in unit.parameters else test_dsp
        tile, i = module.payloads(unit, counts, rng, extreme=extreme)
        yield _bench_of(unit, tile, i, Stall(stall), aborted_cycles=2 * rows + 5)


def folds(unit: OutputStationary) -> Iterator[Testbench]:
    """Multiply folds of one beat and more, with and without stalls; reset in between."""
    rows, depth = unit.parameters["rows"], unit.parameters["depth"]
    for stall, extreme in [(0.0, False), (0.3, False), (0.1, True)]:
        rng = np.random.default_rng([rows, int(10 * stall)])
        beats = [1, rows - 1, rows, 2, rows + 1, depth, 1, 1]
        a, b = test_output_stationary.payloads(unit, beats, rng, extreme=extreme)
        yield _bench_of_folds(unit, a, b, Stall(stall), aborted_cycles=2 * rows + 5)


def longest_folds(unit: OutputStationary) -> Testbench:
    """Add up as many products as the array is made for: extreme and alternating ones."""
    p, depth = unit.parameters, unit.parameters["depth"]
    a, b = (_patterns(p[name], depth) for name in "ab")
    n = len(a)
    # In fold k, row r streams pattern r + k and column c pattern c: each meets each.
    left = np.concatenate([a[(np.arange(p["rows"]) + k) % n].T for k in range(n)])
    right = np.tile(b[np.arange(p["cols"]) % n].T, (n, 1))
    last = np.arange(n * depth) % depth == depth - 1
    return _bench_of_folds(unit, {"row": left, "last": last}, {"row": right, "last": last}, Stall())


def _patterns(number, n: int):
    """Return extreme and alternating series of ``n`` numbers."""
    low, high, odd = number.min_raw, number.max_raw, np.arange(n) % 2
    rng = np.random.default_rng(n)
    return np.stack(
        [
            np.full(n, low),
            np.full(n, high),
            np.where(odd, low, high),
            np.where(odd, high, low),
            np.where(odd, low, 0),
            np.full(n, -1 if low else 1),
            rng.choice([low, high], n),
        ]
    )


def _payloads(unit, tile, row, n: int):
    """Return all fields of tiles, and of rows that stream ``n`` under each."""
    if unit.parameters.get("planes") == "serial":
        tile = {**tile, "planes": np.full(len(tile["row"]), unit.parameters["stream"].width)}
    starts = (np.arange(len(row)) % n == 0).astype(int)
    return tile, {"row": row, "new_tile": starts, "tag": np.zeros(len(row), int)}


def _bench(unit, tile, row, n: int, stall: Stall) -> Testbench:
    return _bench_of(unit, *_payloads(unit, tile, row, n), stall)


def _expected(unit, tile, i):
    return stationary.model(unit, tile, i)


def _bench_of(unit, tile, i, stall: Stall, **options) -> Testbench:
    return _packed(unit, {"tile": tile, "i": i}, _expected(unit, tile, i), stall, **options)


def _bench_of_folds(unit, a, b, stall: Stall, **options) -> Testbench:
    inputs = {"i_a": a, "i_b": b}
    return _packed(unit, inputs, output_stationary.model(unit, **inputs), stall, **options)


def _packed(unit, inputs, expected, stall: Stall, **options) -> Testbench:
    def words(name: str, fields) -> Sequence:
        return pack(getattr(unit, name).payload.shape(), **fields)

    beats = sum(len(fields["row"]) for fields in inputs.values())
    return Testbench(
        {name: Stimulus(words(name, fields), stall) for name, fields in inputs.items()},
        {"o": Expectation(words("o", expected))},
        max_cycles=20 * beats + 2000,
        **options,
    )
