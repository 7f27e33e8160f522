"""Exact model of :mod:`qkloom.rtl.index.key_store`: means of keys that come in rounds."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..formats import Ints
from ..quantize import Int8s
from .block_pool import pool_block_means

__all__ = ["rows_of_rounds", "stored_means"]


def rows_of_rounds(rounds: Iterable[Int8s], size: int) -> dict[str, Any]:
    """Return the chunks of rounds, keys (kv_heads, tokens, head_dim) each, tile by tile.

    Tiles are whole: what they have beyond the tokens is 77.
    """
    chunks: list[Int8s] = [np.zeros((0, size), np.int8)]
    lasts: list[Any] = [np.zeros(0, bool)]
    numbers: list[Any] = [np.zeros(0, np.int64)]
    for keys in rounds:
        heads, tokens, head_dim = keys.shape
        n_tiles, per_token = -(-tokens // size), head_dim // size
        filled = np.full((heads, n_tiles * size, head_dim), 77, np.int8)
        filled[:, :tokens] = keys
        tiles = filled.reshape(heads, n_tiles, -1).swapaxes(0, 1)
        chunks.append(tiles.reshape(-1, size))
        lasts.append(np.arange(len(chunks[-1])) % per_token == per_token - 1)
        numbers.append(np.tile(np.repeat(np.arange(heads), size * per_token), n_tiles))
    return {
        "row": np.concatenate(chunks),
        "last": np.concatenate(lasts),
        "key_head": np.concatenate(numbers),
    }


def stored_means(
    rows: dict[str, Any], tokens: int, *, size: int, block: int, fraction: int
) -> list[list[Ints]]:
    """Return the means (blocks, head_dim) of each KV head of each round, from chunks as above.

    A tile of KV head 0 behind its last one begins the next round.
    """
    n_tiles = -(-tokens // size)
    ends = np.flatnonzero(rows["last"])[size - 1 :: size] + 1  # of tiles
    rounds: list[list[list[Int8s]]] = []
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        head = int(rows["key_head"][begin])
        if head == 0 and (not rounds or len(rounds[-1][0]) == n_tiles):
            rounds.append([])
        if head == len(rounds[-1]):
            rounds[-1].append([])
        rounds[-1][head].append(rows["row"][begin:end].reshape(size, -1))
    return [
        [
            pool_block_means(np.concatenate(tiles)[:tokens], block=block, fraction=fraction)
            for tiles in heads
        ]
        for heads in rounds
    ]
