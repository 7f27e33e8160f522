"""Test vectors of matrix units and of what they are made of."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from amaranth.hdl import Value

from ...rtl.adder.ternary import TernaryAdder
from ...rtl.adder.tree import SumTree
from ...rtl.choice import Choice
from ...rtl.component import Component
from ...rtl.delay import Delay, Skew
from ...rtl.formats import Fixed
from ...rtl.matrix.element import MULTIPLIERS, OutputElement, StationaryElement
from ...rtl.matrix.interface import WeightStationary
from ...rtl.matrix.output_stationary import OutputStationary
from ...rtl.product import Product
from ...tb.adder.tree import total
from ...tb.delay import skew
from ...tb.formats import Ints
from ...tb.matrix.element import output_sums, stationary_sums
from ...tb.matrix.stationary import model
from ...tb.product import product
from ...tb.simulate import from_bits
from .bench import Expected, Sent, Vectors
from .words import is_last, numbers_in, words_of

__all__ = ["MAKERS"]


def _matrix(unit: WeightStationary, n: int, rng: random.Random) -> Vectors:
    """Stream one row, fewer, as many and more rows than a tile has under ``n`` tiles."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    stream, is_serial = unit.parameters["stream"], unit.parameters.get("planes") == "serial"
    tag_width = len(Value.cast(unit.i.payload.tag))
    tiles: list[dict[str, Any]] = []
    passes: list[dict[str, Any]] = []
    for case in range(n):
        tile = {
            "row": numbers_in(rng, unit.parameters["stationary"], (rows, cols)),
            "is_signed": np.full(rows, rng.getrandbits(1)),
        }
        bits = stream.width
        if is_serial:
            bits = rng.randint(1, bits)
            tile["planes"] = np.full(rows, bits)
        count = [1, max(rows - 1, 1), rows, 2 * rows + 1][case % 4]
        tiles.append(tile)
        passes.append(
            {
                "row": _of_either_sign(rng, stream, bits, (count, rows)),
                "new_tile": np.arange(count) == 0,
                "tag": np.array([rng.getrandbits(tag_width) for _ in range(count)]),
            }
        )
    tile, i = _one_after_another(tiles), _one_after_another(passes)
    cycles = n * max(rows, unit.load_cycles) + len(i["row"]) * (stream.width if is_serial else 1)
    return Vectors(
        {"tile": words_of(unit.tile, **tile), "i": words_of(unit.i, **i)},
        {"o": Expected(words_of(unit.o, **model(unit, tile, i)))},
        100 + 4 * cycles + 4 * unit.latency,
    )


def _output_stationary(unit: OutputStationary, n: int, rng: random.Random) -> Vectors:
    """Multiply ``n`` pairs of matrices, folds of one beat and more."""
    rows, cols = unit.parameters["rows"], unit.parameters["cols"]
    depth = min(unit.parameters["depth"], 4 * rows)
    left: list[int] = []
    right: list[int] = []
    outputs: list[int] = []
    for case in range(n):
        beats = [1, depth, min(rows, depth), rng.randint(1, depth)][case % 4]
        a = numbers_in(rng, unit.parameters["a"], (beats, rows))
        b = numbers_in(rng, unit.parameters["b"], (beats, cols))
        left += words_of(unit.i_a, row=a, last=is_last(beats))
        right += words_of(unit.i_b, row=b, last=is_last(beats))
        outputs += words_of(unit.o, row=a.T @ b, last=is_last(rows))
    cycles = 100 + 8 * (len(left) + len(outputs)) + 8 * unit.latency
    return Vectors({"i_a": left, "i_b": right}, {"o": Expected(outputs)}, cycles)


def _stationary(unit: StationaryElement, n: int, rng: random.Random) -> Vectors:
    """Let ``n`` tokens pass, with new weights all the time."""
    ports = [unit.i, unit.i_weight, unit.i_sum]
    words, cycles = _inputs(ports, n, rng)
    width = unit.parameters["sum_width"]
    sums = stationary_sums([tuple(values) for values in cycles], sum_width=width)
    return _every_cycle(words, ("i", "i_weight", "i_sum"), sums, "o_sum", latency=1)


def _output(unit: OutputElement, n: int, rng: random.Random) -> Vectors:
    """Let ``n`` pairs of operands pass, in folds of all lengths."""
    words, cycles = _inputs([unit.i, unit.i_b], n, rng)
    sums = output_sums([tuple(values) for values in cycles], sum_width=unit.parameters["sum_width"])
    latency = MULTIPLIERS[unit.parameters["multiplier"]]
    return _every_cycle(words, ("i", "i_b"), sums, "o_sum", latency=latency)


def _product(unit: Product, n: int, rng: random.Random) -> Vectors:
    """Let ``n`` pairs of operands pass; ``c`` belongs to the pair of the cycle before."""
    formats = {name: unit.parameters[name] for name in "abc" if unit.parameters[name] is not None}
    numbers = {name: numbers_in(rng, of, (n, 1))[:, 0] for name, of in formats.items()}
    words, offset = [0] * n, 0
    for name, of in formats.items():
        bits = (int(number) & (1 << of.width) - 1 for number in numbers[name])
        words = [word | x << offset for word, x in zip(words, bits, strict=True)]
        offset += of.width
    latency = unit.latency
    if "c" in numbers:
        latency -= 1
        # Registers are 0 at first.
        numbers |= {name: np.r_[0, numbers[name][:-1]] for name in "ab"}
    results = product(**numbers, constant=unit.parameters["constant"])
    mask = (1 << len(unit.o)) - 1
    ports = tuple(f"i_{name}" for name in formats)
    return _every_cycle(words, ports, [int(x) & mask for x in results], "o", latency=latency)


def _ternary(unit: TernaryAdder, n: int, rng: random.Random) -> Vectors:
    """Add ``n`` sets of words."""
    p = unit.parameters
    sets = [[rng.getrandbits(p["width"]) for _ in range(p["n"])] for _ in range(n)]
    flags = [rng.getrandbits(1) if p["subtracts"] else 0 for _ in sets]
    signed = [[*x[:-1], -x[-1] if flag else x[-1]] for x, flag in zip(sets, flags, strict=True)]
    sums = [total([words], width=p["width"], constant=p["constant"]) for words in signed]
    return _sums(unit, sets, flags, sums, width=p["width"], latency=0)


def _sum_tree(unit: SumTree, n: int, rng: random.Random) -> Vectors:
    """Add ``n`` sets of numbers, both ends of their range among them."""
    p = unit.parameters
    low, high = p["low"], p["high"]
    sets, flags, sums = [], [], []
    for _ in range(n):
        planes = [
            [rng.choice([low, high, rng.randint(low, high)]) for _ in range(p["n"])]
            for _ in range(p["planes"])
        ]
        flags.append(rng.getrandbits(1) if p["subtracts"] else 0)
        sets.append([number for plane in planes for number in plane])
        sums.append(
            total(planes, width=p["width"], constant=p["constant"], subtract=bool(flags[-1]))
        )
    return _sums(unit, sets, flags, sums, width=unit.i_width, latency=unit.latency)


def _sums(
    unit: TernaryAdder | SumTree,
    sets: list[list[int]],
    flags: list[int],
    sums: list[int],
    *,
    width: int,
    latency: int,
) -> Vectors:
    """Send numbers of ``width`` bits each, and whether some are subtracted."""
    mask = (1 << width) - 1
    words = [
        sum((number & mask) << k * width for k, number in enumerate([*numbers, flag]))
        for numbers, flag in zip(sets, flags, strict=True)
    ]
    ports = ("i", "i_subtract") if unit.parameters["subtracts"] else ("i",)
    sent = Sent(words, ports=ports, valid="i__valid")
    back = Expected(sums, ports=("o",), of="i", latency=latency)
    return Vectors({"i": sent}, {"o": back}, 100 + 8 * len(words))


def _skew(unit: Skew, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words, and see in each cycle what leaves."""
    words = [rng.getrandbits(len(unit.i)) for _ in range(n)]
    return _every_cycle(words, ("i",), skew(words, **unit.parameters), "o", latency=0)


def _delay(unit: Delay, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` words, some cycles apart."""
    words, cycles = [rng.getrandbits(len(unit.i)) for _ in range(n)], unit.parameters["cycles"]
    back = Expected(words, ports=("o",), of="i", latency=cycles)
    sent = Sent(words, ports=("i",), valid="i__valid")
    return Vectors({"i": sent}, {"o": back}, 100 + 8 * n + 2 * cycles)


def _choice(unit: Choice, n: int, rng: random.Random) -> Vectors:
    """Choose out of ``n`` sets of words."""
    width, n_words = unit.parameters["width"], unit.parameters["n"]
    words, chosen = [], []
    for _ in range(n):
        numbers = [rng.getrandbits(width) for _ in range(n_words)]
        select = rng.randrange(n_words)
        fields = [*numbers, select]
        words.append(sum(number << k * width for k, number in enumerate(fields)))
        chosen.append(numbers[select])
    sent = Sent(words, ports=("i", "select"), valid="i__valid")
    back = Expected(chosen, ports=("o",), of="i")
    return Vectors({"i": sent}, {"o": back}, 100 + 8 * n)


def _inputs(ports: list[Any], n: int, rng: random.Random) -> tuple[list[int], list[list[Any]]]:
    """Return ``n`` random words of several ports, and the numbers in them."""
    words = [0] * n
    numbers: list[list[Any]] = [[] for _ in range(n)]
    offset = 0
    for port in ports:
        width = len(Value.cast(port))
        for k in range(n):
            bits = rng.getrandbits(width)
            words[k] |= bits << offset
            numbers[k].append(from_bits(port.shape(), bits))
        offset += width
    return words, numbers


def _every_cycle(
    words: list[int], ports: tuple[str, ...], expected: list[int], output: str, *, latency: int
) -> Vectors:
    """Send a word in every cycle."""
    sent = Sent(words, ports=ports, valid="i__valid", is_steady=True)
    back = Expected(expected, ports=(output,), of="i", latency=latency)
    return Vectors({"i": sent}, {"o": back}, 100 + len(words))


def _of_either_sign(rng: random.Random, number: Fixed, bits: int, shape: tuple[int, int]) -> Ints:
    """Return numbers of a format of which only the low ``bits`` count, in either sign.

    Both ends of both ranges turn up often; above the bits that count is anything.
    """
    ends = [0, (1 << bits) - 1, (1 << bits - 1) - 1, 1 << bits - 1]
    numbers = [
        rng.choice([*ends, rng.getrandbits(bits), rng.getrandbits(bits)])
        | rng.getrandbits(number.width - bits) << bits
        for _ in range(shape[0] * shape[1])
    ]
    wide = np.array(numbers, np.int64).reshape(shape)
    carried: Ints = (wide - number.min_raw) % (1 << number.width) + number.min_raw
    return carried


def _one_after_another(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the beats of several."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    Choice: _choice,
    Delay: _delay,
    OutputElement: _output,
    OutputStationary: _output_stationary,
    Product: _product,
    Skew: _skew,
    StationaryElement: _stationary,
    SumTree: _sum_tree,
    TernaryAdder: _ternary,
    WeightStationary: _matrix,
}
"""What makes ``n`` test cases of a component."""
