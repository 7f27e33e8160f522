"""Test vectors of what streams pass through."""

import random
from collections.abc import Callable

from ...rtl.component import Component
from ...rtl.stream import CreditGate, Fork, Join, Merge, Multicast, Queue, RegisterSlice, Route
from .bench import Expected, Vectors
from .words import anything

__all__ = ["MAKERS"]


def _unchanged(unit: Queue | RegisterSlice, n: int, rng: random.Random) -> Vectors:
    """Send words that come back as they are, ``n`` times as many as fit."""
    words = anything(unit.i, n * (unit.parameters.get("depth", 2) + 1), rng)
    return Vectors({"i": words}, {"o": Expected(words)}, 100 + 8 * len(words))


def _fork(unit: Fork, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words that come back from every output."""
    words = anything(unit.i, n, rng)
    outputs = {f"o__{k}": Expected(words) for k in range(unit.parameters["n"])}
    return Vectors({"i": words}, outputs, 100 + 16 * n)


def _merge(unit: Merge, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words to each input; inputs may overtake each other."""
    inputs = {f"i__{k}": anything(stream, n, rng) for k, stream in enumerate(unit.i)}
    key_width = (len(inputs) - 1).bit_length()
    words = [word << key_width | k for k, sent in enumerate(inputs.values()) for word in sent]
    return Vectors(inputs, {"o": Expected(words, key_width)}, 100 + 16 * len(words))


def _join(unit: Join, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words to each input."""
    shape = unit.o.payload.shape()
    inputs, outputs = {}, [0] * n
    for name, field in shape:
        inputs[f"i_{name}"] = words = anything(getattr(unit, f"i_{name}"), n, rng)
        outputs = [x | word << field.offset for x, word in zip(outputs, words, strict=True)]
    return Vectors(inputs, {"o": Expected(outputs)}, 100 + 16 * n)


def _multicast(unit: Multicast, n: int, rng: random.Random) -> Vectors:
    """Send words to some of the outputs, ``n`` to all of them."""
    n_outputs = unit.parameters["n"]
    everybody = (1 << n_outputs) - 1
    to = [mask for _ in range(n) for mask in (everybody, rng.randrange(everybody + 1))]
    return _addressed(unit, to, [[k for k in range(n_outputs) if x >> k & 1] for x in to], rng)


def _route(unit: Route, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words to each output."""
    to = [k for k in range(unit.parameters["n"]) for _ in range(n)]
    rng.shuffle(to)
    return _addressed(unit, to, [[k] for k in to], rng)


def _addressed(
    unit: Multicast | Route, to: list[int], receivers: list[list[int]], rng: random.Random
) -> Vectors:
    shape = unit.i.payload.shape()
    offset = shape["item"].offset
    items = anything(unit.o[0], len(to), rng)
    sent = [number << shape["to"].offset | x << offset for number, x in zip(to, items, strict=True)]
    outputs = {
        f"o__{k}": Expected([x for x, who in zip(items, receivers, strict=True) if k in who])
        for k in range(unit.parameters["n"])
    }
    return Vectors({"i": sent}, outputs, 100 + 24 * len(to))


def _credit(unit: CreditGate, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words more than there are credits; a word gives its credit back when taken."""
    words = anything(unit.i, n + unit.parameters["credits"], rng)
    wires = {"returned": "o__valid && o__ready"}
    return Vectors({"i": words}, {"o": Expected(words)}, 100 + 16 * len(words), wires=wires)


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    CreditGate: _credit,
    Fork: _fork,
    Join: _join,
    Merge: _merge,
    Multicast: _multicast,
    Queue: _unchanged,
    RegisterSlice: _unchanged,
    Route: _route,
}
"""What makes ``n`` test cases of a component."""
