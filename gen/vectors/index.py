"""Test vectors of what selects blocks."""

import random
from collections.abc import Callable

import numpy as np

from ...rtl.component import Component
from ...rtl.index.selector import CoverageSelector
from ...tb.index.selector import draw_ask, selector_words
from .bench import Expected, Vectors, integers

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


MAKERS: dict[type[Component], Callable[..., Vectors]] = {CoverageSelector: _coverage}
"""What makes ``n`` test cases of a component."""
