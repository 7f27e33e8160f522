"""Attention in float64: what every exact model is measured against."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .tensors import Shape, as_tensors, check_shapes

__all__ = [
    "AttentionError",
    "Bools",
    "Floats",
    "attention",
    "block_pairs",
    "compare",
]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

_CHUNK = 1 << 22
"""Scores held at a time: 32 MB, so that 32K tokens need no quadratic memory."""


def block_pairs(block_mask: ArrayLike | None, block: int | None, shape: Shape) -> Bools | None:
    """Return a block mask as bool of (batch * heads, query blocks, KV blocks).

    Parameters
    ----------
    block_mask : (..., query blocks, KV blocks) array_like of bool, optional
        Which KV block each query block attends to. Leading axes are batch and heads, or missing.
    block : int, optional
        Tokens of a block; needed with a mask.
    shape : Shape
        The attention call.
    """
    if block_mask is None:
        return None
    if block is None or block < 1:
        raise ValueError(f"Block must be a positive number of tokens, not {block!r}")
    mask = np.asarray(block_mask)
    blocks = (-(-shape.n_q // block), -(-shape.n_kv // block))
    full = (shape.batch, shape.heads, *blocks)
    if mask.dtype != np.bool_:
        raise TypeError(f"Block_mask must be an array of bool, not of {mask.dtype}")
    if mask.shape[-2:] != blocks or mask.ndim > 4:
        raise ValueError(f"Block_mask must be {blocks} blocks of {block} tokens, not {mask.shape}")
    try:
        return np.broadcast_to(mask, full).reshape(-1, *blocks)
    except ValueError:
        raise ValueError(f"Block_mask must broadcast to {full}, not {mask.shape}") from None


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    q_start: int = 0,
    block_mask: ArrayLike | None = None,
    block: int | None = None,
) -> Floats:
    """Return ``softmax(Q K^T / sqrt(head_dim)) V`` in float64.

    Parameters
    ----------
    q : (heads, tokens, head_dim) or (batch, heads, tokens, head_dim) array_like
        Queries.
    k, v : as ``q``
        Keys and values: any number of tokens, and as many heads as ``q`` or a divisor of that.
    causal : bool
        Let query ``i`` see keys up to ``q_start + i`` only.
    q_start : int
        Position of the first query among the keys.
    block_mask : (..., query blocks, KV blocks) array_like of bool, optional
        Which KV block each query block may see, beside ``causal``.
    block : int, optional
        Tokens of a block of ``block_mask``.

    Returns
    -------
    as ``q``
        A query with nothing to attend to gives zeros.
    """
    q, k, v = as_tensors(q, k, v, dtype=np.float64)
    shape = check_shapes(q, k, v)
    pairs = block_pairs(block_mask, block, shape)
    queries, keys, values = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    out = np.zeros_like(queries)
    chunk = max(1, _CHUNK // shape.n_kv)
    key = np.arange(shape.n_kv)
    for head in range(len(queries)):
        kv_head = head // shape.group
        for start in range(0, shape.n_q, chunk):
            row = np.arange(start, min(start + chunk, shape.n_q))
            scores = queries[head, row] @ keys[kv_head].T / math.sqrt(shape.head_dim)
            if causal:
                scores[key > q_start + row[:, None]] = -np.inf
            if pairs is not None and block is not None:
                scores[~pairs[head][row[:, None] // block, key // block]] = -np.inf
            highest = scores.max(axis=1, keepdims=True)
            # A row that sees nothing has no finite maximum: its weights become exp(-inf) = 0.
            weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
            total = weights.sum(axis=1, keepdims=True)
            out[head, row] = weights @ values[kv_head] / np.where(total, total, 1)
    result: Floats = out.reshape(q.shape)
    return result


@dataclass(frozen=True)
class AttentionError:
    """How far an output is from the reference.

    Members
    -------
    max_abs, mean_abs : float
        Largest and mean absolute difference.
    rms_relative : float
        Root of the sum of squared differences over root of the sum of squares of the reference.
    worst_row : tuple of int
        Index of the row (batch, head, token) with the largest sum of squared differences.
    worst_row_rms_relative : float
        Root mean square of its differences, over the root mean square of the whole reference.
    """

    max_abs: float
    mean_abs: float
    rms_relative: float
    worst_row: tuple[int, ...]
    worst_row_rms_relative: float


def compare(output: ArrayLike, reference: ArrayLike) -> AttentionError:
    """Return how far ``output`` is from ``reference``; both ``(..., tokens, head_dim)``."""
    output, reference = np.asarray(output, np.float64), np.asarray(reference, np.float64)
    if output.shape != reference.shape:
        raise ValueError(f"Output must have shape {reference.shape}, not {output.shape}")
    # Squares of very small or large numbers would be 0 or infinite.
    peak = float(max(np.abs(output).max(), np.abs(reference).max()))
    unit = math.ldexp(1.0, math.frexp(peak)[1] - 1)
    output, reference = output / unit, reference / unit
    difference = output - reference
    rows = np.sqrt((difference**2).mean(axis=-1))
    worst = np.unravel_index(np.argmax(rows), rows.shape)
    return AttentionError(
        max_abs=float(abs(difference).max()) * unit,
        mean_abs=float(abs(difference).mean()) * unit,
        rms_relative=_ratio(_rms(difference), _rms(reference)),
        worst_row=tuple(map(int, worst)),
        worst_row_rms_relative=_ratio(float(rows[worst]), _rms(reference)),
    )


def _rms(x: Floats) -> float:
    return math.sqrt(float((x**2).mean()))


def _ratio(error: float, size: float) -> float:
    if size:
        return error / size
    return math.inf if error else 0.0
