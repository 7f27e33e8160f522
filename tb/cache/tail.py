"""Exact model of :mod:`qkloom.rtl.cache.tail`: tokens of each head, and blocks that are full."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...rtl.cache.tail import TailBlocks
from ...rtl.formats import ceil_log2
from ..packing import Words, pack
from .slots import Step, step_words

__all__ = ["Append", "TailModel", "Token", "draw_appends", "tail_words"]


@dataclass(frozen=True)
class Append:
    """A token of a head, or how many ``tokens`` it begins with."""

    head: int
    tokens: int | None = None


@dataclass(frozen=True)
class Token:
    """Where a token goes; see :func:`~qkloom.rtl.cache.tail.token_layout`."""

    head: int
    block: int = 0
    row: int = 0
    full: bool = False
    refused: bool = False


class TailModel:
    """Tokens of all heads.

    Parameters
    ----------
    heads, blocks, block : int
        As of the unit.
    """

    def __init__(self, *, heads: int, blocks: int, block: int) -> None:
        self.tokens = [0] * heads
        self.block, self.most = block, blocks * block

    def append(self, append: Append) -> Token:
        """Return where the token goes; ``full`` is followed by a write-back of the block."""
        head = append.head
        if head >= len(self.tokens):
            return Token(head, refused=True)
        begins = append.tokens is not None
        n = self.tokens[head] if append.tokens is None else append.tokens
        if n >= self.most:
            return Token(head, refused=True)
        self.tokens[head] = n if begins else n + 1
        block, row = divmod(n, self.block)
        return Token(head, block, row, full=not begins and row == self.block - 1)


def tail_words(
    unit: TailBlocks, appends: Iterable[Append], steps: Sequence[Step]
) -> tuple[dict[str, Words], dict[str, Words]]:
    """Return the payloads of input and output streams."""
    p = unit.parameters
    model = TailModel(heads=p["heads"], blocks=p["blocks"], block=p["block"])
    asked = list(appends)
    tokens = [model.append(append) for append in asked]
    full = [token for token in tokens if token.full]
    inputs = {
        "append": pack(
            unit.append.payload.shape(),
            head=[append.head for append in asked],
            begins=[append.tokens is not None for append in asked],
            tokens=[append.tokens or 0 for append in asked],
        ),
        "written": pack(unit.written.payload.shape(), np.zeros(len(full), np.int64)),
        "step": step_words(unit.step.payload.shape(), steps),
    }
    shape = unit.place.payload.shape()
    fields = {name: [getattr(token, name) for token in tokens] for name in shape.members}
    blocks = {name: np.array([getattr(t, name) for t in full], int) for name in ("head", "block")}
    slots = np.full(len(full), p["k"] - 1)
    return inputs, {
        "place": pack(shape, **fields),
        "write_back": pack(unit.write_back.payload.shape(), **blocks, slot=slots),
        "o_step": inputs["step"],
    }


def draw_appends(unit: TailBlocks, rng: np.random.Generator, n: int) -> list[Append]:
    """Draw ``n`` appends: tokens of some heads more than of others; some begin, some are wrong."""
    p = unit.parameters
    heads, most = p["heads"], p["blocks"] * p["block"]
    appends = []
    for _ in range(n):
        head = int(min(rng.integers(heads), rng.integers(heads)))
        tokens = None
        if rng.random() < 0.1:
            tokens = int(rng.integers(most + 1))
        elif rng.random() < 0.05:
            tokens = most - int(rng.integers(p["block"] + 1))
        if rng.random() < 0.05:
            head = (1 << ceil_log2(max(heads, 2))) - 1
        appends.append(Append(head, tokens))
    return appends
