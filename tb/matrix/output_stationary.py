"""Exact model of :mod:`qkloom.rtl.matrix.output_stationary`, and matrix products as its streams.

Payloads are dicts of arrays by field, one item per beat.
"""

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.formats import Integer
from ...rtl.matrix.output_stationary import OutputStationary
from ..formats import Ints, wrap
from .stationary import Fields, tiled

__all__ = ["model", "program", "read_back"]


def model(unit: OutputStationary, i_a: Fields, i_b: Fields) -> dict[str, Ints]:
    """Return the payloads at ``o``, given all those at ``i_a`` and ``i_b``: whole folds."""
    last = np.asarray(i_a["last"], bool)
    if not (np.array_equal(last, np.asarray(i_b["last"], bool)) and last[-1:].all()):
        raise ValueError("Both operands must consist of the same whole folds")
    ends = np.flatnonzero(last)[:-1] + 1
    folds = zip(
        np.split(np.asarray(i_a["row"], np.int64), ends),
        np.split(np.asarray(i_b["row"], np.int64), ends),
        strict=True,
    )
    row = np.concatenate([a.T @ b for a, b in folds])
    rows = unit.parameters["rows"]
    return {
        "row": wrap(row, Integer(unit.acc_width)),
        "last": (np.arange(len(row)) % rows == rows - 1).astype(np.int64),
    }


def program(
    unit: OutputStationary, a: ArrayLike, b: ArrayLike
) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Return the payloads at ``i_a`` and ``i_b`` that multiply ``a`` (M x K) by ``b`` (K x N).

    A fold per block of the result, row by row of blocks.
    """
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    n_products = np.shape(b)[0]
    left = tiled(a, (rows, n_products))[:, 0].swapaxes(1, 2)  # block of M, beat, element
    right = tiled(b, (n_products, cols))[0]  # block of N, beat, element
    n_left, n_right = len(left), len(right)
    last = np.tile(np.arange(n_products) == n_products - 1, n_left * n_right).astype(np.int64)
    return (
        {"row": np.repeat(left, n_right, axis=0).reshape(-1, rows), "last": last},
        {"row": np.tile(right, (n_left, 1, 1)).reshape(-1, cols), "last": last},
    )


def read_back(unit: OutputStationary, o: Fields, shape: tuple[int, int, int]) -> Ints:
    """Return the product of shape (M, N) from the payloads at ``o``; ``shape`` is M, K, N."""
    n_rows, _, n_cols = shape
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    blocks = np.asarray(o["row"], np.int64).reshape(-(-n_rows // rows), -1, rows, cols)
    return blocks.swapaxes(1, 2).reshape(len(blocks) * rows, -1)[:n_rows, :n_cols]
