"""Selections: which KV blocks each query block attends to."""

from typing import Any

import numpy as np

from .attention import Bools, block_pairs
from .errors import InputError
from .tensors import Shape

__all__ = ["as_block_mask", "density"]


def as_block_mask(block_mask: Any, block: int, shape: Shape) -> Bools:
    """Return a selection that a user gave, as bool of (batch * heads, query blocks, KV blocks).

    Raises
    ------
    InputError
        When it is no array of bool, or does not broadcast to that.
    """
    try:
        mask = np.asarray(block_mask)
    except ValueError:  # rows of different lengths
        mask = np.empty(0, object)
    blocks = (-(-shape.n_q // block), -(-shape.n_kv // block))
    full = (shape.batch, shape.heads, *blocks)
    wanted = full if shape.batch > 1 else full[1:]
    if mask.dtype != np.bool_:
        raise InputError(
            f"block_mask must be an array of bool, not of {mask.dtype}; "
            "True selects a block of keys"
        )
    try:
        pairs = block_pairs(mask, block, shape)
    except ValueError:
        raise InputError(
            f"block_mask must be {wanted}, or broadcast to it: heads, and blocks of {block} "
            f"queries and of {block} keys; not {mask.shape}"
        ) from None
    assert pairs is not None
    return pairs


def density(
    block_mask: Any, block: int, shape: Shape, *, causal: bool = False, q_start: int = 0
) -> float:
    """Return the share of visible (query, key) pairs that a selection keeps; 1 if there are none.

    Parameters are those of :func:`qkloom.tb.attention.attention`.
    """
    pairs = block_pairs(block_mask, block, shape)
    if pairs is None:
        return 1.0
    limit = np.full(shape.n_q, shape.n_kv)
    if causal:
        limit = np.clip(q_start + np.arange(shape.n_q) + 1, 0, shape.n_kv)
    first = np.arange(0, shape.n_kv, block)
    seen = np.clip(limit[:, None] - first, 0, np.minimum(block, shape.n_kv - first))
    rows = np.arange(0, shape.n_q, block)
    visible = np.add.reduceat(seen, rows, axis=0)  # pairs of a query block and a KV block
    total = int(visible.sum()) * len(pairs)
    return int((visible * pairs).sum()) / total if total else 1.0
