"""Test vectors of single components: random words in, the exact model's words out."""

import math
import random
from collections.abc import Callable

import numpy as np
from amaranth.hdl import Value

from ..rtl.component import Component
from ..rtl.formats import Fixed
from ..rtl.matrix.stationary import MatrixUnit
from ..rtl.stream import Queue, RegisterSlice
from ..tb.formats import Ints
from ..tb.tensors import InputError
from .vectors import Expected, Vectors

__all__ = ["unit_vectors"]


def unit_vectors(component: Component, n: int) -> Vectors:
    """Return ``n`` test cases of a component, the same in every run.

    Raises
    ------
    InputError
        When there are none for this kind of component.
    """
    make = _MAKERS.get(type(component))
    if make is None:
        kinds = ", ".join(kind.__name__ for kind in _MAKERS)
        raise InputError(
            f"Test vectors exist for {kinds}, not for {type(component).__name__}; "
            "leave out --vectors, or take a chip that contains it"
        )
    return make(component, n, random.Random(n))


def _matrix(unit: MatrixUnit, n: int, rng: random.Random) -> Vectors:
    """Stream one row, fewer, as many and more rows than a tile has under ``n`` tiles."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    stationary, streaming = unit.parameters["stationary"], unit.parameters["stream"]
    tile_layout, i_layout, o_layout = (
        stream.payload.shape() for stream in (unit.tile, unit.i, unit.o)
    )
    tag_width = len(Value.cast(unit.i.payload.tag))
    tiles, inputs, outputs = [], [], []
    for case in range(n):
        tile = _integers(rng, stationary.width, stationary.is_signed, (rows, cols))
        is_signed = bool(rng.getrandbits(1))
        count = [1, max(rows - 1, 1), rows, 2 * rows + 1][case % 4]
        streamed = _integers(rng, streaming.width, is_signed, (count, rows))
        for row in tile.tolist():
            tiles.append(tile_layout.const({"row": row, "is_signed": is_signed}).as_bits())
        # The bits of a row are the same whichever sign its format has.
        carried = _integers_of(streamed, streaming)
        products = (streamed @ tile).tolist()
        for index, (row, product) in enumerate(zip(carried.tolist(), products, strict=True)):
            tag = {"tag": rng.getrandbits(tag_width)} if tag_width else {}
            inputs.append(i_layout.const({"row": row, "new_tile": not index, **tag}).as_bits())
            outputs.append(o_layout.const({"row": product, **tag}).as_bits())
    cycles = 100 + 4 * (len(tiles) + len(inputs)) + 4 * unit.latency
    return Vectors({"tile": tiles, "i": inputs}, {"o": Expected(outputs)}, cycles)


def _unchanged(unit: Queue | RegisterSlice, n: int, rng: random.Random) -> Vectors:
    """Send words that come back as they are, ``n`` times as many as fit."""
    width = len(Value.cast(unit.i.payload))
    words = [rng.getrandbits(width) for _ in range(n * (getattr(unit, "depth", 2) + 1))]
    return Vectors({"i": words}, {"o": Expected(words)}, 100 + 8 * len(words))


_MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    MatrixUnit: _matrix,
    Queue: _unchanged,
    RegisterSlice: _unchanged,
}


def _integers(rng: random.Random, width: int, is_signed: bool, shape: tuple[int, int]) -> Ints:
    """Return random integers; the smallest and the largest turn up often."""
    low = -(1 << width - 1) if is_signed else 0
    high = low + (1 << width) - 1
    numbers = [rng.choice([low, high, rng.randint(low, high)]) for _ in range(math.prod(shape))]
    return np.array(numbers, np.int64).reshape(shape)


def _integers_of(bits: Ints, number: Fixed) -> Ints:
    """Return the numbers of a format that have the low bits of ``bits``."""
    low = bits & (1 << number.width) - 1
    return np.where(low > number.max_raw, low - (1 << number.width), low)
