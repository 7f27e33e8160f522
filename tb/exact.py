"""Exact model of :mod:`qkloom.rtl.lane.lane`: attention with the bits of the hardware.

Rows are independent of each other, so the model takes many at a time; along a row it goes tile by
tile as the lane does, because every shift rounds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.formats import Integer
from ..rtl.lane.numerics import Numerics
from .attention import Bools, block_pairs
from .formats import Ints, round_shift
from .lane.normalize import normalize
from .lane.row import RowState, base2_scores
from .quantize import Int8s
from .tensors import Shape, check_shapes

__all__ = ["MacCounts", "count_macs", "exact_attention"]

_ROWS = 512
"""Query rows of a head taken at a time: enough for NumPy, few enough for causal masks."""


def exact_attention(
    q: Int8s,
    k: Int8s,
    v: Int8s,
    mantissa: ArrayLike,
    shift: ArrayLike,
    numerics: Numerics,
    *,
    block_rows: int,
    causal: bool = False,
    q_start: int = 0,
    block_mask: ArrayLike | None = None,
) -> Ints:
    """Return the lane's outputs as raw ``Fixed(8, 16)``, in units of the values' scale.

    Parameters
    ----------
    q, k, v : int8 arrays
        As :func:`qkloom.tb.attention.attention` takes them, quantized; 4-bit numbers too.
    mantissa, shift : (heads,) or (batch, heads) array_like of int
        Score factor of each query head.
    numerics : Numerics
        The numbers of the lane.
    block_rows : int
        Tokens of a block, of queries and of keys. Key tiles start afresh at each KV block.
    causal, q_start
        As for the reference.
    block_mask : (..., query blocks, KV blocks) array_like of bool, optional
        Which KV blocks each query block processes, in ascending order.
    """
    shape = _check(q, k, v, numerics, block_rows)
    pairs = block_pairs(block_mask, block_rows, shape)
    heads = shape.batch * shape.heads
    mantissa, shift = (
        np.broadcast_to(np.asarray(x, np.int64), q.shape[:-2]).reshape(heads, 1, 1)
        for x in (mantissa, shift)
    )
    # Floats that are exact: a score is a sum of integers below 2**24, p times v below 2**53.
    queries = q.reshape(heads, *q.shape[-2:]).astype(np.float32)
    keys, values = (
        np.repeat(x, shape.group, axis=-3).reshape(heads, *x.shape[-2:]) for x in (k, v)
    )
    out = np.empty(queries.shape, np.int64)
    for start in range(0, shape.n_q, _ROWS):
        rows = np.arange(start, min(start + _ROWS, shape.n_q))
        state = RowState((heads, len(rows)), numerics)
        acc = np.zeros((heads, len(rows), shape.head_dim), np.int64)
        for tile in _tiles(shape.n_kv, block_rows, numerics.size):
            visible = _visible(rows, tile, block_rows, pairs, q_start if causal else None)
            if not visible.any():
                continue  # no probability, no rescale: the lane's state would stay as it is
            tile_keys = keys[:, tile].astype(np.float32).swapaxes(1, 2)
            scores = (queries[:, rows] @ tile_keys).astype(np.int64)
            step = state.step(base2_scores(scores, mantissa, shift, numerics), visible)
            if step.old_shift.any():
                acc = round_shift(acc, step.old_shift[..., None])
            products = (step.p.astype(np.float64) @ values[:, tile]).astype(np.int64)
            acc += round_shift(products << numerics.acc_guard, step.new_shift[..., None])
        out[:, rows] = normalize(acc, state.total)
    return out.reshape(q.shape)


@dataclass(frozen=True)
class MacCounts:
    """Numerators of the two figures of merit; cycles times MACs is the denominator of both.

    Members
    -------
    slots : int
        MAC slots that carry an operand pair inside the matrices, every pass counted: rows x keys x
        head_dim of each processed key tile, once for Q.K and once per digit for P.V.
    useful : int
        2 x head_dim x unmasked (query, key) pairs.
    """

    slots: int
    useful: int


def count_macs(
    shape: Shape,
    numerics: Numerics,
    *,
    block_rows: int,
    causal: bool = False,
    q_start: int = 0,
    block_mask: ArrayLike | None = None,
) -> MacCounts:
    """Return the MACs of an attention call; parameters as of :func:`exact_attention`.

    A query block processes the key tiles that its last row sees something of, at least one.
    """
    pairs = block_pairs(block_mask, block_rows, shape)
    n_blocks = -(-shape.n_q // block_rows), -(-shape.n_kv // block_rows)
    per_head = [np.ones(n_blocks, np.bool_)] if pairs is None else list(pairs)
    repeat = shape.batch * shape.heads if pairs is None else 1
    first = np.arange(0, shape.n_kv, block_rows)
    length = np.minimum(block_rows, shape.n_kv - first)
    processed = unmasked = 0
    for head in per_head:
        for block, start in enumerate(range(0, shape.n_q, block_rows)):
            rows = np.arange(start, min(start + block_rows, shape.n_q))
            limit = q_start + rows + 1 if causal else np.full(len(rows), shape.n_kv)
            seen = np.clip(limit[:, None] - first, 0, length) * head[block]
            tiled = np.minimum(-(-seen[-1] // numerics.size) * numerics.size, length)
            # With nothing to see a job of one key still has to bring the zeros out.
            processed += len(rows) * max(int(tiled.sum()), min(numerics.size, int(length[0])))
            unmasked += int(seen.sum())
    scale = repeat * shape.head_dim
    return MacCounts(scale * processed * (1 + numerics.digits), scale * unmasked * 2)


def _check(q: Int8s, k: Int8s, v: Int8s, numerics: Numerics, block_rows: int) -> Shape:
    stream, stationary = numerics.stream_width, numerics.stationary_width
    for name, x, width in (("Q", q, stream), ("K", k, stationary), ("V", v, stationary)):
        if x.dtype != np.int8:
            raise TypeError(f"{name} must be an int8 array, not {x.dtype}")
        operand = Integer(width)
        outside = x[(x < operand.min_raw) | (x > operand.max_raw)]
        if outside.size:
            raise ValueError(
                f"{name} must hold numbers of {width} bits, {operand.min_raw} to "
                f"{operand.max_raw}, not {outside[0]}; quantize it to {width} bits"
            )
    shape = check_shapes(q, k, v)
    if shape.head_dim > numerics.head_dim:
        raise ValueError(f"Head_dim must be at most {numerics.head_dim}, not {shape.head_dim}")
    if shape.n_kv > numerics.tokens:
        raise ValueError(f"Tokens must be at most {numerics.tokens}, not {shape.n_kv}")
    if block_rows < 1:
        raise ValueError(f"Block_rows must be a positive integer, not {block_rows}")
    return shape


def _tiles(n_kv: int, block: int, size: int) -> list[slice]:
    """Return the key tiles in the lane's order; only the last of a block may be short."""
    return [
        slice(tile, min(tile + size, first + block, n_kv))
        for first in range(0, n_kv, block)
        for tile in range(first, min(first + block, n_kv), size)
    ]


def _visible(
    rows: NDArray[np.int64], tile: slice, block: int, pairs: Bools | None, q_start: int | None
) -> Bools:
    """Return which keys of a tile each row sees, as bool that broadcasts to (heads, rows, keys)."""
    visible = np.ones((1, len(rows), tile.stop - tile.start), np.bool_)
    if q_start is not None:
        visible = visible & (np.arange(tile.start, tile.stop) <= q_start + rows[:, None])
    if pairs is not None:
        visible = visible & pairs[:, rows // block, tile.start // block, None]
    return visible
