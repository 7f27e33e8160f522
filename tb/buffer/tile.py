"""Exact model of :mod:`qkloom.rtl.buffer.tile`: strips of tokens, and the tiles cut from them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["strip_rows", "tile"]


def strip_rows(strip: ArrayLike, *, size: int) -> list[dict[str, Any]]:
    """Return a strip in memory order, as the rows that fill the buffer.

    Parameters
    ----------
    strip : (tokens, n * size) array_like
        Tokens one below the other.
    size : int
        Elements of a row.
    """
    tokens = np.asarray(strip)
    n_chunks = tokens.shape[1] // size
    chunks = tokens.reshape(-1, n_chunks, size).tolist()
    return [
        {"row": chunk, "last": int(i == n_chunks - 1)}
        for token in chunks
        for i, chunk in enumerate(token)
    ]


def tile(strip: ArrayLike, number: int, *, columns: bool = False) -> NDArray[Any]:
    """Return tile ``number`` of a strip, as the beats in which it leaves the buffer.

    Parameters
    ----------
    strip : (size, n * size) array_like
        Tokens one below the other.
    columns : bool
        A beat is one element position of all tokens, as it leaves a transposer behind the buffer.
    """
    tokens = np.asarray(strip)
    size = len(tokens)
    square = tokens[:, number * size : (number + 1) * size]
    return square.T if columns else square
