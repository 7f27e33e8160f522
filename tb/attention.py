"""Attention in float64: what every exact model is measured against."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AttentionError",
    "Bools",
    "Floats",
    "Shape",
    "as_tensor",
    "attention",
    "block_pairs",
    "check_shapes",
    "compare",
]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

_CHUNK = 1 << 22
"""Scores held at a time: 32 MB, so that 32K tokens need no quadratic memory."""


class Shape(NamedTuple):
    """Sizes of an attention call.

    Members
    -------
    batch : int
        Sequences; 1 for inputs without that axis.
    heads, kv_heads : int
        Query heads, and heads of K and V. Query head ``h`` uses KV head ``h // group``.
    n_q, n_kv : int
        Tokens of Q, and of K and V.
    head_dim : int
        Elements of a token in one head.
    """

    batch: int
    heads: int
    kv_heads: int
    n_q: int
    n_kv: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads


def as_tensor(x: Any, name: str) -> Floats:
    """Return ``x`` as float64 of three or four axes; ``name`` is what messages call it.

    Takes NumPy arrays, nested lists, and whatever has ``__array__`` or ``__dlpack__``.

    Raises
    ------
    TypeError
        When it is not an array of real numbers.
    ValueError
        When it has other axes, no elements, or an element that is not finite.
    """
    try:
        only_dlpack = hasattr(x, "__dlpack__") and not hasattr(x, "__array__")
        array = np.from_dlpack(x) if only_dlpack else np.asarray(x)
        if array.dtype.kind in "cOSUmM":
            raise TypeError(f"its dtype is {array.dtype}")
        floats: Floats = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        # Frameworks raise all of these, as for tensors on a GPU or dtypes that NumPy lacks.
        raise TypeError(f"{name} must be an array of real numbers: {error}") from error
    if floats.ndim not in (3, 4):
        raise ValueError(
            f"{name} must be (heads, tokens, head_dim) or (batch, heads, tokens, head_dim), "
            f"not {floats.shape}"
        )
    if not floats.size:
        raise ValueError(f"{name} must have no axis of length 0, not {floats.shape}")
    bad = np.argwhere(~np.isfinite(floats))
    if len(bad):
        index = tuple(map(int, bad[0]))
        raise ValueError(
            f"{name} must be finite, not {floats[index]} at {index} "
            f"({len(bad)} such elements); clean the tensor first"
        )
    return floats


def check_shapes(q: NDArray[Any], k: NDArray[Any], v: NDArray[Any]) -> Shape:
    """Return the sizes of an attention call.

    Raises
    ------
    ValueError
        When the shapes disagree.
    """
    shapes = f"Q {q.shape}, K {k.shape}, V {v.shape}"
    if not q.ndim == k.ndim == v.ndim:
        raise ValueError(f"Q, K and V must have as many axes as each other, not {shapes}")
    if k.shape != v.shape:
        raise ValueError(f"K and V must have one shape, not {shapes}")
    if q.shape[:-3] != k.shape[:-3]:
        raise ValueError(f"Q, K and V must have one batch size, not {shapes}")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"Q, K and V must have one head_dim, not {shapes}")
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(f"Heads of Q must be a multiple of the heads of K and V, not {shapes}")
    batch = q.shape[0] if q.ndim == 4 else 1
    return Shape(batch, q.shape[-3], k.shape[-3], q.shape[-2], k.shape[-2], q.shape[-1])


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
    q, k, v = as_tensor(q, "Q"), as_tensor(k, "K"), as_tensor(v, "V")
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
    difference = output - reference
    rows = np.sqrt((difference**2).mean(axis=-1))
    worst = np.unravel_index(np.argmax(rows), rows.shape)
    return AttentionError(
        max_abs=float(abs(difference).max()),
        mean_abs=float(abs(difference).mean()),
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
