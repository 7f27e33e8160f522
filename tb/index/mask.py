"""Exact model of :mod:`qkloom.rtl.index.mask`: the mask of a head's selection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...rtl.index.lists import SelectionLists
from ...rtl.index.mask import SelectionMask
from ..attention import Bools
from ..packing import Words, pack
from .pack import pack_bits

__all__ = ["Head", "draw_head", "mask_inputs", "mask_of", "mask_outputs"]


@dataclass(frozen=True, eq=False)
class Head:
    """What a head has selected.

    Members
    -------
    columns, diagonals : arrays (n) of bool
        Block columns, and distances in blocks.
    pairs : array (n, n) of bool, optional
        Rows are query blocks; nothing above the main diagonal counts.
    """

    columns: Bools
    diagonals: Bools
    pairs: Bools | None = None


def mask_of(head: Head) -> Bools:
    """Return which KV blocks (columns) each query block (row) of a head needs."""
    row, column = np.indices((len(head.columns),) * 2)
    mask: Bools = head.columns[column] | head.diagonals[np.maximum(row - column, 0)]
    if head.pairs is not None:
        mask |= head.pairs
    return mask & (column <= row)


def mask_inputs(unit: SelectionMask | SelectionLists, heads: Sequence[Head]) -> dict[str, Words]:
    """Return the payloads of the input streams for heads one after the other."""
    parts = [part for head in heads for part in _candidates(head)]
    lasts = [np.arange(len(part))[::-1] == 0 for part in parts]
    calls = {
        "n": [len(head.columns) for head in heads],
        "pairs": [head.pairs is not None for head in heads],
    }
    return {
        "call": pack(unit.call.payload.shape(), **calls),
        "i": pack(unit.i.payload.shape(), taken=np.concatenate(parts), last=np.concatenate(lasts)),
    }


def mask_outputs(unit: SelectionMask | SelectionLists, heads: Sequence[Head]) -> Words:
    """Return the payloads of the words that come out."""
    width = unit.parameters["word_width"]
    rows = [pack_bits(row, width) for head in heads for row in mask_of(head)]
    shape = (unit.o if isinstance(unit, SelectionMask) else unit.masks).payload.shape()
    return pack(
        shape,
        mask=[word for row in rows for word in row],
        last=[k == len(row) - 1 for row in rows for k in range(len(row))],
    )


def draw_head(rng: np.random.Generator, n: int, *, pairs: bool | None = None) -> Head:
    """Draw a selection of ``n`` blocks: of everything, nothing or some of each kind."""

    def some(*shape: int) -> Bools:
        drawn: Bools = rng.random(shape) < rng.choice([0, 0.1, 0.5, 1])
        return drawn

    if pairs is None:
        pairs = bool(rng.random() < 0.4)
    return Head(some(n), some(n), some(n, n) if pairs else None)


def _candidates(head: Head) -> list[Bools]:
    """Return what is said of columns, diagonals and pairs."""
    parts = [np.asarray(head.columns, bool), np.asarray(head.diagonals, bool)]
    if head.pairs is not None:
        parts.append(np.asarray(head.pairs, bool)[np.tril_indices(len(head.columns))])
    return parts
