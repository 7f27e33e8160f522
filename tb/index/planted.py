"""What a generated head attends to: the answer that a selection of KV blocks is held against."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attention import Bools, Floats

__all__ = ["Planted", "attention_of", "covered_share", "planted_share"]


@dataclass(frozen=True)
class Planted:
    """What one head attends to, in tokens.

    Members
    -------
    tokens, block : int
        Of the context; tokens of a block.
    share : float
        Of a query's attention, if all that it looks for is there; 0: nothing is planted.
    sinks : int
        First tokens that every query attends to.
    verticals : tuple of int
        Other tokens that every later query attends to.
    slashes : tuple of int
        Distances; each query attends to one of them.
    band : int
        Some queries attend to all distances below this; 0: none do.
    needles : tuple of (int, int)
        Query block and the KV block that all of its queries attend to.
    """

    tokens: int
    block: int
    share: float = 0.0
    sinks: int = 0
    verticals: tuple[int, ...] = ()
    slashes: tuple[int, ...] = ()
    band: int = 0
    needles: tuple[tuple[int, int], ...] = ()

    @property
    def n(self) -> int:
        """Blocks of the context, the last one perhaps not full."""
        return -(-self.tokens // self.block)

    @property
    def columns(self) -> list[int]:
        """Block columns with sinks and verticals."""
        sinks = range(-(-self.sinks // self.block))
        return sorted({*sinks, *(token // self.block for token in self.verticals)})

    @property
    def diagonals(self) -> list[int]:
        """Block diagonals of slashes and band: whole blocks of distance, as rules count them."""
        near = range(-(-self.band // self.block))
        return sorted({*near, *(distance // self.block for distance in self.slashes)})

    def blocks(self) -> Bools:
        """Return the pairs of blocks (query blocks, KV blocks) that hold a planted pair.

        The last block counts as a whole one, however many tokens it has.
        """
        found = np.zeros((self.n, self.n), bool)
        row, column = np.indices(found.shape)
        found[:, self.columns] = True
        for distance in self.slashes:
            first = -(-distance // self.block)  # a diagonal of tokens reaches two of blocks
            found |= (row - column == distance // self.block) | (row - column == first)
        if self.band:
            found |= row - column <= -(-(self.band - 1) // self.block)
        for pair in self.needles:
            found[pair] = True
        return found & (column <= row)

    def pairs(self, rows: NDArray[np.integer]) -> Bools:
        """Return the planted pairs of tokens (rows, tokens) of some queries."""
        token = np.arange(self.tokens)
        distance = rows[:, None] - token
        found = np.zeros(distance.shape, bool)
        found[:, : self.sinks] = True
        found[:, list(self.verticals)] = True
        for slash in self.slashes:
            found |= distance == slash
        found |= distance < self.band
        if self.needles:
            wanted = np.zeros((self.n, self.n), bool)
            wanted[tuple(np.transpose(self.needles))] = True
            found |= wanted[rows[:, None] // self.block, token // self.block]
        return found & (distance >= 0)


def attention_of(q: Any, k: Any, rows: NDArray[np.integer]) -> Floats:
    """Return the causal attention (rows, tokens) of some queries of one head, in float64."""
    queries, keys = np.asarray(q[rows], np.float64), np.asarray(k, np.float64)
    scores = queries @ keys.T / np.sqrt(keys.shape[1])
    scores[np.arange(len(keys)) > rows[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    attended: Floats = weights / weights.sum(axis=1, keepdims=True)
    return attended


def planted_share(q: Any, k: Any, planted: Planted, rows: NDArray[np.integer]) -> float:
    """Return the mean share of attention that some queries of a head give to what is planted."""
    return float((attention_of(q, k, rows) * planted.pairs(rows)).sum() / len(rows))


def covered_share(q: Any, k: Any, mask: Bools, block: int, rows: NDArray[np.integer]) -> float:
    """Return the mean share of attention of some queries of a head inside of chosen blocks."""
    attended = attention_of(q, k, rows)
    inside = mask[rows[:, None] // block, np.arange(attended.shape[1]) // block]
    return float((attended * inside).sum() / len(rows))
