"""Exact model of every weight-stationary matrix unit, and matrix products as its streams.

Payloads are dicts of arrays by field, one item per beat.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import ArrayLike

from ...rtl.matrix.interface import WeightStationary
from ..formats import Ints

__all__ = ["Fields", "model", "program", "read_back", "tiled"]

Fields: TypeAlias = Mapping[str, Any]


def model(unit: WeightStationary, tile: Fields, i: Fields) -> dict[str, Any]:
    """Return the payloads at ``o``, given all those at ``tile`` and ``i``.

    A row before the first tile has no defined result; it is refused.
    """
    n_rows, stream = unit.parameters["rows"], unit.parameters["stream"]
    tiles = np.asarray(tile["row"], np.int64).reshape(-1, n_rows, unit.parameters["cols"])
    is_signed = np.asarray(tile["is_signed"], bool).reshape(-1, n_rows)[:, -1]
    new_tile = np.asarray(i["new_tile"], bool)
    if not new_tile[:1].all():
        raise ValueError("The first row must be the first under a tile")
    if not unit.parameters["mixed_signs"]:
        is_signed = np.full_like(is_signed, stream.is_signed)
    # A unit that takes planes in series may have operands of fewer bits under some tiles.
    bits = np.asarray(tile.get("planes", np.full(len(tiles) * n_rows, stream.width)), np.int64)
    number = np.cumsum(new_tile) - 1
    width = bits.reshape(-1, n_rows)[number, -1, None]
    row = np.asarray(i["row"], np.int64) & (1 << width) - 1
    row -= (row >> width - 1 & is_signed[number, None]) << width
    passes = np.split(row, np.flatnonzero(new_tile)[1:])
    products = [rows @ tile for rows, tile in zip(passes, tiles, strict=False)]
    return {"row": np.concatenate(products), "tag": i["tag"]}


def program(
    unit: WeightStationary, a: ArrayLike, b: ArrayLike, *, is_signed: bool = True
) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Return the payloads at ``tile`` and ``i`` that multiply ``a`` (M x K) by ``b`` (K x N).

    All of ``a`` streams under each tile of ``b``; tiles of one column block follow each other. A
    row's tag is its number in ``a``, as far as it fits.
    """
    rows, stream = unit.parameters["rows"], unit.parameters["stream"]
    tag_width = Shape.cast(unit.parameters["tag"]).width
    left = tiled(a, (1, rows)).transpose(1, 0, 2, 3)[:, :, 0]  # block of K, row of a, element
    tiles = tiled(b, (rows, unit.parameters["cols"])).swapaxes(0, 1)
    n_tiles, n_rows = tiles.shape[0] * tiles.shape[1], left.shape[1]
    # An unsigned operand has the bits of a number of the stream's own format.
    span = 1 << stream.width
    row = (left - stream.min_raw) % span + stream.min_raw
    tile = {
        "row": tiles.reshape(n_tiles * rows, -1),
        "is_signed": np.full(n_tiles * rows, is_signed, np.int64),
    }
    if unit.parameters.get("planes") == "serial":
        tile["planes"] = np.full(n_tiles * rows, stream.width, np.int64)
    i = {
        "row": np.broadcast_to(row, (tiles.shape[0], *row.shape)).reshape(-1, rows),
        "new_tile": np.tile(np.arange(n_rows) == 0, n_tiles).astype(np.int64),
        "tag": np.tile(np.arange(n_rows) % (1 << tag_width), n_tiles),
    }
    return tile, i


def read_back(unit: WeightStationary, o: Fields, shape: tuple[int, int, int]) -> Ints:
    """Return the product of shape (M, N) from the payloads at ``o``; ``shape`` is M, K, N."""
    n_rows, n_products, n_cols = shape
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    partial = np.asarray(o["row"], np.int64).reshape(
        -(-n_cols // cols), -(-n_products // rows), n_rows, cols
    )
    total: Ints = partial.sum(1).swapaxes(0, 1).reshape(n_rows, -1)
    return total[:, :n_cols]


def tiled(matrix: ArrayLike, size: tuple[int, int]) -> Ints:
    """Cut a matrix into tiles, padded with zeros: (tile row, tile column, row, column)."""
    matrix = np.asarray(matrix, np.int64)
    (n_rows, n_cols), (rows, cols) = matrix.shape, size
    padded = np.pad(matrix, ((0, -n_rows % rows), (0, -n_cols % cols)))
    return padded.reshape(-(-n_rows // rows), rows, -(-n_cols // cols), cols).swapaxes(1, 2)
