"""Test vectors of single components: random words in, the exact model's words out."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from amaranth.hdl import Value

from ..rtl.component import Component
from ..rtl.formats import Fixed
from ..rtl.lane.reciprocal import Reciprocal
from ..rtl.matrix.output_stationary import OutputStationary
from ..rtl.matrix.stationary import MatrixUnit
from ..rtl.stream import Fork, Merge, Queue, RegisterSlice
from ..tb.formats import Ints
from ..tb.lane.reciprocal import exponent, reciprocal
from ..tb.packing import pack
from ..tb.tensors import InputError
from .units import find_units
from .vectors import Expected, Vectors, integers

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
        names = {unit.component: unit.name for unit in find_units().values()}
        raise InputError(
            f"Test vectors exist for {', '.join(names[kind] for kind in _MAKERS)}, "
            f"not for {names[type(component)]}; "
            "leave out --vectors, or take a chip that contains it"
        )
    return make(component, n, random.Random(n))


def _matrix(unit: MatrixUnit, n: int, rng: random.Random) -> Vectors:
    """Stream one row, fewer, as many and more rows than a tile has under ``n`` tiles."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    stationary, streaming = unit.parameters["stationary"], unit.parameters["stream"]
    tag_width = len(Value.cast(unit.i.payload.tag))
    tiles: list[int] = []
    inputs: list[int] = []
    outputs: list[int] = []
    for case in range(n):
        tile = _random(rng, stationary, (rows, cols))
        is_signed = bool(rng.getrandbits(1))
        count = [1, max(rows - 1, 1), rows, 2 * rows + 1][case % 4]
        streamed = _random(rng, Fixed(streaming.width, 0, is_signed), (count, rows))
        tag = np.array([rng.getrandbits(tag_width) for _ in range(count)])
        first = np.arange(count) == 0
        # A row has the same bits whichever sign its format has.
        carried = np.where(
            streamed > streaming.max_raw, streamed - (1 << streaming.width), streamed
        )
        carried = np.where(carried < streaming.min_raw, carried + (1 << streaming.width), carried)
        tiles += _words(unit.tile, row=tile, is_signed=is_signed)
        inputs += _words(unit.i, row=carried, new_tile=first, tag=tag)
        outputs += _words(unit.o, row=streamed @ tile, tag=tag)
    cycles = 100 + 4 * (len(tiles) + len(inputs)) + 4 * unit.latency
    return Vectors({"tile": tiles, "i": inputs}, {"o": Expected(outputs)}, cycles)


def _output_stationary(unit: OutputStationary, n: int, rng: random.Random) -> Vectors:
    """Multiply ``n`` pairs of matrices, folds of one beat and more."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    depth = min(unit.parameters["depth"], 4 * rows)
    left: list[int] = []
    right: list[int] = []
    outputs: list[int] = []
    for case in range(n):
        beats = [1, depth, min(rows, depth), rng.randint(1, depth)][case % 4]
        a = _random(rng, unit.parameters["a"], (beats, rows))
        b = _random(rng, unit.parameters["b"], (beats, cols))
        left += _words(unit.i_a, row=a, last=_is_last(beats))
        right += _words(unit.i_b, row=b, last=_is_last(beats))
        outputs += _words(unit.o, row=a.T @ b, last=_is_last(rows))
    cycles = 100 + 8 * (len(left) + len(outputs)) + 8 * unit.latency
    return Vectors({"i_a": left, "i_b": right}, {"o": Expected(outputs)}, cycles)


def _reciprocal(unit: Reciprocal, n: int, rng: random.Random) -> Vectors:
    """Divide by ``n`` row sums of every width."""
    tag_width = len(Value.cast(unit.i.payload.tag))
    totals = [rng.getrandbits(1 + case % unit.parameters["sum_width"]) or 1 for case in range(n)]
    tag = np.array([rng.getrandbits(tag_width) for _ in totals])
    e, r = exponent(totals), reciprocal(totals)
    outputs = _words(unit.o, zero=False, e=e, r=r, tag=tag)
    cycles = 100 + 8 * n + unit.latency
    return Vectors({"i": _words(unit.i, l=totals, tag=tag)}, {"o": Expected(outputs)}, cycles)


def _unchanged(unit: Queue | RegisterSlice, n: int, rng: random.Random) -> Vectors:
    """Send words that come back as they are, ``n`` times as many as fit."""
    words = _anything(unit.i, n * (unit.parameters.get("depth", 2) + 1), rng)
    return Vectors({"i": words}, {"o": Expected(words)}, 100 + 8 * len(words))


def _fork(unit: Fork, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words that come back from every output."""
    words = _anything(unit.i, n, rng)
    outputs = {f"o__{k}": Expected(words) for k in range(unit.parameters["n"])}
    return Vectors({"i": words}, outputs, 100 + 16 * n)


def _merge(unit: Merge, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words to each input; inputs may overtake each other."""
    inputs = {f"i__{k}": _anything(stream, n, rng) for k, stream in enumerate(unit.i)}
    key_width = (len(inputs) - 1).bit_length()
    words = [word << key_width | k for k, sent in enumerate(inputs.values()) for word in sent]
    return Vectors(inputs, {"o": Expected(words, key_width)}, 100 + 16 * len(words))


_MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    MatrixUnit: _matrix,
    OutputStationary: _output_stationary,
    Reciprocal: _reciprocal,
    Queue: _unchanged,
    RegisterSlice: _unchanged,
    Fork: _fork,
    Merge: _merge,
}


def _random(rng: random.Random, number: Fixed, shape: tuple[int, int]) -> Ints:
    """Return random integers of a format; the smallest and the largest turn up often."""
    low, high = number.min_raw, number.max_raw
    numbers = [rng.choice([low, high, rng.randint(low, high)]) for _ in range(shape[0] * shape[1])]
    return np.array(numbers, np.int64).reshape(shape)


def _words(stream: Any, **fields: Any) -> list[int]:
    return integers(pack(stream.payload.shape(), **fields))


def _anything(stream: Any, n: int, rng: random.Random) -> list[int]:
    return [rng.getrandbits(len(Value.cast(stream.payload))) for _ in range(n)]


def _is_last(n: int) -> Ints:
    flags: Ints = np.eye(1, n, n - 1, dtype=np.int64)[0]
    return flags
