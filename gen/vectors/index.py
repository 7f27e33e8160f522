"""Test vectors of what selects blocks."""

import random
from collections.abc import Callable

import numpy as np

from ...rtl.component import Component
from ...rtl.index.lists import SelectionLists
from ...rtl.index.mask import SelectionMask
from ...rtl.index.selector import CoverageSelector
from ...rtl.index.sweep import triangle
from ...rtl.index.uses import UseTable
from ...tb.index.lists import list_words
from ...tb.index.mask import draw_head, mask_inputs, mask_of, mask_outputs
from ...tb.index.selector import draw_ask, selector_words
from ...tb.index.uses import uses_words
from ...tb.packing import Words
from .bench import Expected, Vectors, integers

_MOST_BLOCKS = 40
"""Of a test case."""

__all__ = ["MAKERS"]


def _coverage(unit: CoverageSelector, n: int, rng: random.Random) -> Vectors:
    """Ask for ``n`` selections, of one candidate to as many as there may be, but 100 at most."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    most = min(unit.parameters["candidates"], 100)
    asks = [draw_ask(unit, numbers, int(numbers.integers(1, most + 1))) for _ in range(n)]
    inputs, outputs = selector_words(unit, asks)
    cycles = unit.overhead + (unit.digits << unit.parameters["digit_bits"])
    return Vectors(
        {name: integers(words) for name, words in inputs.items()},
        {name: Expected(integers(words)) for name, words in outputs.items()},
        1000 + 4 * n * cycles + 16 * len(inputs["i"]),
    )


def _selection(unit: SelectionMask | SelectionLists, n: int, rng: random.Random) -> Vectors:
    """Tell the selections of ``n`` heads."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    most = min(unit.parameters["blocks"], _MOST_BLOCKS)
    heads = [draw_head(numbers, int(numbers.integers(1, most + 1))) for _ in range(n)]
    words = mask_outputs(unit, heads)
    if isinstance(unit, SelectionMask):
        outputs = {"o": words}
    else:
        shape = unit.lists.payload.shape()
        lists = np.concatenate([list_words(shape, mask_of(head)) for head in heads])
        outputs = {"masks": words, "lists": lists}
    return _vectors(mask_inputs(unit, heads), outputs, 1000 + 50 * n)


def _uses(unit: UseTable, n: int, rng: random.Random) -> Vectors:
    """Tell the uses of ``n`` KV groups."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    blocks, heads, window = (unit.parameters[name] for name in ("blocks", "heads", "window"))
    groups = []
    for _ in range(n):
        size = int(numbers.integers(1, min(blocks, _MOST_BLOCKS) + 1))
        some = int(numbers.integers(1, min(heads, 4) + 1))
        groups.append(np.stack([mask_of(draw_head(numbers, size)) for _ in range(some)]))
    sweeps = 3 * triangle(blocks=min(blocks, _MOST_BLOCKS), window=window) + 300
    inputs, outputs = uses_words(unit, groups)
    return _vectors(inputs, outputs, triangle(blocks=blocks, window=window) + 4 * n * sweeps)


def _vectors(inputs: dict[str, Words], outputs: dict[str, Words], cycles: int) -> Vectors:
    """Return words and a limit: so many cycles, and time for all that moves."""
    moved = sum(map(len, (*inputs.values(), *outputs.values())))
    return Vectors(
        {name: integers(words) for name, words in inputs.items()},
        {name: Expected(integers(words)) for name, words in outputs.items()},
        cycles + 16 * moved,
    )


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    CoverageSelector: _coverage,
    SelectionLists: _selection,
    SelectionMask: _selection,
    UseTable: _uses,
}
"""What makes ``n`` test cases of a component."""
