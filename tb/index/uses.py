"""Exact model of :mod:`qkloom.rtl.index.uses`: uses of KV blocks, window by window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...rtl.index.uses import UseTable
from ..attention import Bools
from ..packing import Words, pack
from .lists import list_words

__all__ = ["Use", "uses_of", "uses_words"]


@dataclass(frozen=True)
class Use:
    """Of a KV block in a window.

    Members
    -------
    block : int
        Its number.
    left : int
        Its jobs in this window and in all later ones.
    jobs : int
        Those in this one.
    next : int or None
        The next window with any.
    """

    block: int
    left: int
    jobs: int
    next: int | None


def uses_of(masks: Bools, window: int) -> list[list[Use]]:
    """Return for each window the KV blocks that it uses, ascending.

    Parameters
    ----------
    masks : array (heads, n, n) of bool
        Which KV blocks (columns) each query block (row) needs.
    window : int
        Query blocks of a window.
    """
    of_rows = np.asarray(masks, bool).sum(axis=0)
    jobs = np.add.reduceat(of_rows, np.arange(0, len(of_rows), window), axis=0)
    left = jobs[::-1].cumsum(axis=0)[::-1]
    uses = []
    for number, row in enumerate(jobs):
        found = []
        for block in np.flatnonzero(row).tolist():
            later = np.flatnonzero(jobs[number + 1 :, block])
            after = number + 1 + int(later[0]) if len(later) else None
            found.append(Use(block, int(left[number, block]), int(row[block]), after))
        uses.append(found)
    return uses


def uses_words(
    unit: UseTable, groups: Sequence[Bools]
) -> tuple[dict[str, Words], dict[str, Words]]:
    """Return the payloads of input and output streams, for the masks of KV groups in turn."""
    sizes = {"n": [masks.shape[1] for masks in groups], "heads": [len(masks) for masks in groups]}
    lists = [list_words(unit.i.payload.shape(), rows) for masks in groups for rows in masks]
    inputs = {"call": pack(unit.call.payload.shape(), **sizes), "i": np.concatenate(lists)}
    end = (0, 0, 0, 0, 0, 1)
    items = [
        item
        for masks in groups
        for uses in uses_of(masks, unit.parameters["window"])
        for item in (*map(_item, uses), end)
    ]
    names = ("block", "left", "jobs", "next", "again", "end")
    fields = dict(zip(names, np.array(items).T, strict=True))
    return inputs, {"o": pack(unit.o.payload.shape(), **fields)}


def _item(use: Use) -> tuple[int, int, int, int, int, int]:
    again = use.next is not None
    return use.block, use.left, use.jobs, use.next or 0, int(again), 0
