"""Test vectors of what keeps KV blocks."""

import random
from collections.abc import Callable

import numpy as np

from ...rtl.cache.slots import SlotTable
from ...rtl.cache.tail import TailBlocks
from ...rtl.component import Component
from ...tb.cache.slots import Step, draw_steps, slot_words
from ...tb.cache.tail import Append, tail_words
from ...tb.packing import Words
from .bench import Expected, Vectors, integers

__all__ = ["MAKERS"]


def _slots(unit: SlotTable, n: int, rng: random.Random) -> Vectors:
    """Ask for the blocks of ``n`` steps."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    heads, k = (unit.parameters[name] for name in ("heads", "k"))
    words = slot_words(unit, draw_steps(unit, numbers, n))
    return _vectors(*words, heads * (k - 1) + n * (4 * k + 60))


def _tails(unit: TailBlocks, n: int, rng: random.Random) -> Vectors:
    """Fill a block ``n`` times, and begin the next one if there is one; with a step for each."""
    heads, blocks, block = (unit.parameters[name] for name in ("heads", "blocks", "block"))
    appends, steps = [], []
    for _ in range(n):
        head, full = rng.randrange(heads), rng.randrange(blocks) * block + block - 1
        appends += [Append(head, full), Append(head), Append(head)]
        steps.append(Step(head, rng.randrange(blocks), (), last=rng.random() < 0.5))
    return _vectors(*tail_words(unit, appends, steps), heads + 60 * n)


def _vectors(inputs: dict[str, Words], outputs: dict[str, Words], cycles: int) -> Vectors:
    """Return words and a limit: so many cycles, and time for all that moves."""
    moved = sum(map(len, (*inputs.values(), *outputs.values())))
    return Vectors(
        {name: integers(words) for name, words in inputs.items()},
        {name: Expected(integers(words)) for name, words in outputs.items()},
        1000 + cycles + 16 * moved,
    )


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    SlotTable: _slots,
    TailBlocks: _tails,
}
"""What makes ``n`` test cases of a component."""
