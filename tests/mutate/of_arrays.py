"""Stimuli of the systolic arrays."""

import numpy as np

from qkloom.rtl.formats import I4, I8
from qkloom.rtl.matrix.dsp import DspMatrixUnit
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.packing import pack
from tests.rtl.matrix import test_output_stationary, test_stationary

from .unit import Unit, paced

__all__ = ["units"]


def units():
    """Yield the units, one after the other."""
    for unit in (
        MatrixUnit(rows=5, cols=3, tag=4),
        MatrixUnit(rows=4, cols=4, stream=I8, stationary=I4),
    ):
        rows, cols = unit.parameters["rows"], unit.parameters["cols"]
        claims = {"matrix_unit_": "at_row != 0 && (at_row & (at_row - 1)) == 0"}
        yield Unit(
            f"matrix unit, {rows}x{cols}",
            unit,
            stationary(unit),
            claims=claims,
            explained={
                f"{unit.module_name}: loads = $and, B[1] cnot0 with bit 3": (
                    "What a row of shadow registers takes too early is replaced by the right "
                    "weights before the tile is complete."
                ),
            },
        )
    unit = DspMatrixUnit(rows=5, cols=3, tag=4)
    yield Unit(
        "matrix unit of DSP slices, 5x3",
        unit,
        stationary(unit),
        explained={
            "packed_chain_rows2_packingi8_by_i8_mixed: p_0 = $dff, Q[17] const0": (
                "One product and the bias of two rows are 97,665 at most, which has 17 bits."
            ),
        },
    )
    unit = LutMatrixUnit(rows=7, cols=2, tag=4)
    yield Unit(
        "matrix unit of tables, 7x2",
        unit,
        stationary(unit),
        claims={"lut_matrix_unit_": "turn"},  # there is but one band
        explained={
            "lut_band_cols2_groups2_last_rows3_planes8: loader, o_step[8] cnot0 with bit 5": (
                "Where there is no step, it does not matter whether one would subtract."
            ),
        },
    )
    array = OutputStationary(rows=3, cols=4, depth=9)
    yield Unit("output-stationary array", array, output_stationary(array), without=("queue_",))


def stationary(unit):
    """Stream fewer rows, as many and more than a tile has; operands anywhere and at their ends.

    At last, all products of a column are the largest or the smallest of unsigned rows.
    """
    rows = unit.parameters["rows"]
    rng = np.random.default_rng(rows)
    counts = [1, rows, rows + 1, 1, 2, rows - 1, 1, rows, rows, 3 * rows, *rng.integers(1, 9, 8)]
    benches = []
    for operands in ("anywhere", "at their ends", "all the same"):
        tile, i = test_stationary.payloads(unit, counts, rng, extreme=operands != "anywhere")
        if operands == "all the same":
            i["row"][:] = -1
            tile["row"] = tile["row"][::rows].repeat(rows, axis=0)
        sent = {"tile": pack(unit.tile.payload.shape(), **tile)}
        fields = i if len(unit.i.payload.tag) else {**i, "tag": 0}
        sent["i"] = pack(unit.i.payload.shape(), **fields)
        benches += paced(sent, {}, max_cycles=4000)
    return benches


def output_stationary(unit):
    """Multiply folds of one beat and more; operands anywhere and at their ends."""
    rng = np.random.default_rng(1)
    depth = unit.parameters["depth"]
    folds = [1, 1, 1, 2, 3, 4, depth, depth, *rng.integers(1, depth + 1, 10), 1, 2, 1]
    benches = []
    for extreme in (False, True):
        a, b = test_output_stationary.payloads(unit, folds, rng, extreme=extreme)
        sent = {
            "i_a": pack(unit.i_a.payload.shape(), **a),
            "i_b": pack(unit.i_b.payload.shape(), **b),
        }
        benches += paced(sent, {"o": len(folds) * unit.parameters["rows"]}, max_cycles=4000)
    return benches
