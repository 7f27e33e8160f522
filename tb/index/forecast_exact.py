"""Exact model of :mod:`qkloom.rtl.index.forecast`: the selection in integers, query by query."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formats import Ints
from .blocks import pool_exactly
from .difference import differences
from .topk import choose_exactly

__all__ = ["Query", "Selection", "pack_lists", "score_bits", "select_exactly"]

_PER_BLOCK, _STRIDE = 4, 16
_TOKENS = _PER_BLOCK * _STRIDE


@dataclass(frozen=True, eq=False)
class Query:
    """What the unit is asked.

    Members
    -------
    vector : int8 array (head_dim)
        The forecast.
    keys : int8 array (windows, head_dim)
        Compressed keys.
    position : int
        Of the query among tokens.
    k, init, local : int
        Blocks to choose; first ones, and latest ones beside the query's own, that are always taken.
    resident : sequence of int
        Blocks that are there, ascending.
    """

    vector: Ints
    keys: Ints
    position: int
    k: int
    init: int = 1
    local: int = 0
    resident: tuple[int, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What the unit answers; flags as ``result_layout`` of the hardware has them."""

    chosen: tuple[int, ...] = ()
    load: tuple[int, ...] = ()
    evict: tuple[int, ...] = ()
    refused: bool = False
    flat: bool = False
    single: bool = False
    fewer: bool = False

    @property
    def flags(self) -> dict[str, int]:
        """The result as numbers, by name."""
        return {name: int(getattr(self, name)) for name in ("refused", "flat", "single", "fewer")}


def select_exactly(query: Query, *, k_max: int, blocks: int, head_dim: int) -> Selection:
    """Return the answer of hardware of these sizes.

    ``k`` beyond ``k_max``, or less than what is always taken, more blocks or windows than
    ``blocks`` have, and vectors beyond ``head_dim`` are refused.
    """
    windows, elements = query.keys.shape
    n_blocks = query.position // _TOKENS + 1
    if (
        query.k > k_max
        or query.init + query.local + 1 > query.k
        or n_blocks > blocks
        or windows > _PER_BLOCK * blocks
        or not 0 < elements <= head_dim
    ):
        return Selection(refused=True)
    pooled = pool_exactly(
        query.keys.astype(np.int64) @ query.vector.astype(np.int64),
        n_blocks=n_blocks,
        seen=query.position // _STRIDE % _PER_BLOCK,
        init=query.init,
        until_local=max(n_blocks - 1 - query.local, 0),
        score_width=score_bits(head_dim),
    )
    chosen = sorted(choose_exactly(pooled.scores, pooled.forced, query.k))
    load, evict = differences(chosen, query.resident)
    return Selection(
        tuple(chosen),
        tuple(load),
        tuple(evict),
        flat=pooled.flat,
        single=n_blocks == 1,
        fewer=n_blocks < query.k,
    )


def score_bits(head_dim: int) -> int:
    """Return the bits of a sum of ``head_dim`` products of int8: its lowest number is never one."""
    return 16 + (head_dim - 1).bit_length()


def pack_lists(lists: Iterable[Any]) -> list[dict[str, int]]:
    """Return the items of lists of blocks, each with its end."""
    return [
        item
        for blocks in lists
        for item in [*({"block": int(b), "end": 0} for b in blocks), {"block": 0, "end": 1}]
    ]
