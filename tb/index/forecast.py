"""SparDA's selection: a forecast vector chooses the KV blocks that the next layer attends to.

Keys are compressed to means of 32 tokens, every 16 tokens (InfLLM-V2, arXiv 2509.24663); a forecast
head, one for each KV head, is multiplied by them, without a softmax and without a scale; scores are
pooled to blocks of 64 tokens, the first and the latest blocks are always taken, and the largest of
the others up to ``top_k`` in all (SparDA's public code). Ties: the lower block first.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .pool import Reals, largest

__all__ = [
    "KERNEL",
    "STRIDE",
    "compress_keys",
    "forecast",
    "forecast_from",
    "foretell",
    "pool_scores",
    "select_blocks",
]

KERNEL, STRIDE = 32, 16
"""Tokens of a compressed key, and from one to the next."""

_PER_BLOCK = 4
"""Compressed keys that begin in a block; a block's score is of these and of one more before."""


def foretell(q: NDArray[Any], kv_heads: int, snr: float | None = None, seed: int = 0) -> Reals:
    """Return what a layer before would foretell: vectors (kv_heads, queries, head_dim), float32.

    SparDA's Forecast is trained; this one is the true queries' mean over a group, and noise in
    place of what training leaves wrong.

    Parameters
    ----------
    q : array (heads, queries, head_dim)
        True queries.
    kv_heads : int
        Groups that heads make.
    snr : float, optional
        Power of the mean over that of the noise, in dB. ``None``: no noise, an oracle.
    seed : int
        Of the noise.
    """
    q = np.asarray(q, np.float32)
    mean: Reals = q.reshape(kv_heads, -1, *q.shape[1:]).mean(axis=1)
    if snr is None:
        return mean
    noise = np.random.default_rng(seed).standard_normal(mean.shape, np.float32)
    size = math.sqrt(float((mean**2).mean()) / 10 ** (snr / 10))
    noisy: Reals = mean + np.float32(size) * noise
    return noisy


def forecast(
    f: Any,
    k: Any,
    position: int,
    *,
    top_k: int = 96,
    init: int = 1,
    local: int = 32,
) -> list[NDArray[np.intp]]:
    """Select the blocks of 64 tokens that a query attends to, for each KV head.

    Parameters
    ----------
    f : array (kv_heads, head_dim)
        Forecast.
    k : array (kv_heads, tokens, head_dim)
        Keys that there are.
    position : int
        Of the query among the keys.
    top_k : int
        Most blocks.
    init, local : int
        First blocks, and latest ones beside the query's own, that are always taken.

    Returns
    -------
    list of int arrays
        Blocks in ascending order.

    Raises
    ------
    InputError
        When shapes or numbers do not go together.
    """
    f, k = np.asarray(f, np.float64), np.asarray(k, np.float64)
    if f.ndim != 2 or k.ndim != 3 or f.shape != (len(k), k.shape[2]):
        raise InputError(
            f"f and k must be (kv_heads, head_dim) and (kv_heads, tokens, head_dim), "
            f"not {f.shape} and {k.shape}"
        )
    return [
        forecast_from(vector, compress_keys(keys), position, top_k=top_k, init=init, local=local)
        for vector, keys in zip(f, k, strict=True)
    ]


def forecast_from(
    f: Reals, compressed: Reals, position: int, *, top_k: int, init: int, local: int
) -> NDArray[np.intp]:
    """Select for one KV head, from keys that are compressed already (windows, head_dim)."""
    n = position // (STRIDE * _PER_BLOCK) + 1
    scores = compressed @ f
    scores[STRIDE * np.arange(len(scores)) > position] = -np.inf
    return select_blocks(pool_scores(scores, n), top_k=top_k, init=init, local=local)


def compress_keys(k: Reals) -> Reals:
    """Return means (windows, head_dim) of the complete windows of keys (tokens, head_dim)."""
    windows = max((len(k) - KERNEL) // STRIDE + 1, 0)
    sums = np.zeros((windows + 1, k.shape[1]), k.dtype)
    whole = k[: (windows + 1) * STRIDE] if windows else k[:0]
    sums[: len(whole) // STRIDE] = whole.reshape(-1, STRIDE, k.shape[1]).sum(axis=1)
    means: Reals = (sums[:-1] + sums[1:]) / KERNEL
    return means


def pool_scores(scores: Reals, n: int) -> Reals:
    """Return the largest score of each of ``n`` blocks: of windows ``4b - 1`` to ``4b + 3``."""
    padded = np.full(n * _PER_BLOCK + 1, -np.inf)
    used = min(len(scores), n * _PER_BLOCK)
    padded[1 : 1 + used] = scores[:used]
    pooled: Reals = np.maximum(
        padded[1:].reshape(n, _PER_BLOCK).max(axis=1), padded[:-1:_PER_BLOCK]
    )
    return pooled


def select_blocks(scores: Reals, *, top_k: int, init: int, local: int) -> NDArray[np.intp]:
    """Return the blocks that are taken, ascending; the query is in the last of ``scores``.

    Raises
    ------
    InputError
        When more are always taken than there may be.
    """
    if init < 0 or local < 0 or top_k < init + local + 1:
        raise InputError(
            f"top_k must be at least init + local + 1, {init + local + 1}, which are always taken, "
            f"not {top_k}"
        )
    ranked = scores.copy()
    ranked[:init] = np.inf
    ranked[max(len(scores) - 1 - local, 0) :] = np.inf
    return np.sort(largest(ranked, top_k))
