"""Exact model of :mod:`qkloom.rtl.index.sweep`: the order of steps."""

from dataclasses import dataclass

import numpy as np

from ...rtl.index.sweep import triangle
from ..attention import Bools

__all__ = ["Step", "clearing", "steps_of"]


@dataclass(frozen=True)
class Step:
    """What is done next; ``None``: it says nothing."""

    kind: str
    place: int | None = None
    block: int | None = None
    number: int | None = None
    is_last: bool | None = None


def clearing(*, blocks: int, window: int) -> list[Step]:
    """Return the steps after a reset."""
    depth = triangle(blocks=blocks, window=window)
    return [Step("clears", place) for place in reversed(range(depth))]


def steps_of(masks: Bools, window: int) -> list[Step]:
    """Return the steps for the masks (heads, n, n) of a KV group."""
    n = masks.shape[1]
    sizes = [min(end, n) for end in range(window, n + window, window)]
    begins = np.cumsum([0, *sizes]).tolist()
    adds = [Step("adds", begins[r // window] + int(c)) for _, r, c in np.argwhere(masks)]
    back = [
        Step("backs", begins[number] + block, block, number, number == len(sizes) - 1)
        for number in reversed(range(len(sizes)))
        for block in reversed(range(sizes[number]))
    ]
    forth = [
        step
        for number, size in enumerate(sizes)
        for step in (
            *(
                Step("tells", begins[number] + block, block, number, number == len(sizes) - 1)
                for block in range(size)
            ),
            Step("ends"),
        )
    ]
    return adds + back + forth
