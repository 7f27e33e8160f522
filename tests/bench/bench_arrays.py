"""Cycles that the systolic arrays take for a matrix product, beside the bounds asked and SCALE-Sim.

Counted from the first beat taken to the last result taken, so that loading the first tile counts.
SCALE-Sim's figure is its closed form for an output-stationary array (Samajdar et al., 2020).
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from qkloom.gen.emit import emit
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.engines import check
from qkloom.tb.matrix import output_stationary, stationary
from qkloom.tb.testbench import Expectation, Stimulus, Testbench, pack

SIZES = [(4, 3), (16, 16), (20, 18)]
SHOWN = [(1, 1, 1), (16, 16, 16), (128, 64, 16), (17, 64, 33), (64, 1, 64), (1, 64, 64)]


def grid(rows: int) -> list[int]:
    """Return the sizes of matrices that an array of ``rows`` must show its timing with."""
    return sorted({1, rows - 1, rows, rows + 1, 2 * rows + 5, 4 * rows})


class Case:
    """A kind of array, at one size, compiled."""

    def __init__(self, kind: type[Any], rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self.is_stationary = kind is MatrixUnit
        self.model = stationary if self.is_stationary else output_stationary
        self.inputs = ("tile", "i") if self.is_stationary else ("i_a", "i_b")
        self.unit = kind(rows=rows, cols=cols)
        self.design = emit(self.unit)

    def bound(self, m: int, k: int, n: int) -> int:
        """Return the cycles asked."""
        rows, cols = self.rows, self.cols
        if self.is_stationary:
            tiles = -(-k // rows) * -(-n // cols)
            return tiles * max(m, self.unit.load_cycles) + 2 * rows + cols + 8
        return -(-m // rows) * -(-n // cols) * max(k, rows) + rows + cols + 8

    def measure(self, m: int, k: int, n: int) -> int:
        """Multiply random matrices, compare the result, and return the cycles."""
        rng = np.random.default_rng([m, k, n])
        a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
        payloads = self.model.program(self.unit, a, b)
        expected = self.model.model(self.unit, *payloads)
        if not np.array_equal(self.model.read_back(self.unit, expected, (m, k, n)), a @ b):
            raise RuntimeError("The model does not multiply")
        testbench = Testbench(
            inputs={
                name: Stimulus(pack(getattr(self.unit, name).payload.shape(), **fields))
                for name, fields in zip(self.inputs, payloads, strict=True)
            },
            outputs={"o": Expectation(pack(self.unit.o.payload.shape(), **expected))},
            max_cycles=2 * self.bound(m, k, n),
        )
        return check(self.design, testbench).cycles


def scale_sim(rows: int, cols: int, m: int, k: int, n: int) -> int:
    """Return SCALE-Sim's cycles."""
    return -(-m // rows) * -(-n // cols) * (k + rows + cols - 2) - 1


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    for kind, (n_rows, n_cols) in itertools.product((MatrixUnit, OutputStationary), SIZES):
        case = Case(kind, n_rows, n_cols)
        name = f"{'weight' if case.is_stationary else 'output'}-stationary {n_rows}x{n_cols}"
        if n_rows == n_cols:
            for shape in SHOWN:
                m, k, n = shape
                yield {
                    "name": f"{name}, {m}x{k} @ {k}x{n}",
                    "value": case.measure(*shape),
                    "unit": "cycles",
                    "asked": case.bound(*shape),
                    "better": "less",
                    "how": f"SCALE-Sim: {scale_sim(n_rows, n_cols, *shape):,}",
                }
        sizes = grid(n_rows)
        shapes = list(itertools.product(sizes, repeat=3))
        yield {
            "name": f"{name}, most cycles above the bound",
            "value": max(case.measure(*shape) - case.bound(*shape) for shape in shapes),
            "unit": "cycles",
            "asked": 0,
            "better": "less",
            "how": f"M, K, N each of {', '.join(map(str, sizes))}",
        }
