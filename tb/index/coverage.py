"""Coverage by blocks: the rule of the coverage unit, in float64.

FlexPrefill counts tokens until their attention reaches ``gamma``, and turns the count into blocks.
FAST-Prefill (its index unit) goes on until the attention of *blocks* does, which one pass over the
keys can tell. So a head takes its block columns, and its block diagonals, largest first until each
have ``gamma`` of the attention of the last block of queries, and a query-aware head pairs of blocks
until these have it of what averages foretell. Ties: the lower number first. What is always kept,
the first column and the main diagonal, counts.

A diagonal is a distance in whole blocks: query ``i`` and key ``j`` are in number ``(i - j) //
block``. Where tokens are whole blocks that is FlexPrefill's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attention import Bools
from .flexprefill import HeadSelection, check_selection
from .pool import Reals, block_means, block_sums, budgets, divergence_of, last_queries, softmax

__all__ = ["Cover", "CoverageSelection", "coverage", "smallest_cover"]


@dataclass(frozen=True, eq=False)
class Cover:
    """Which things of a kind are taken: columns, diagonals, or pairs of blocks.

    Members
    -------
    mass : array
        Of each thing.
    gamma : float
        Share of all mass that was asked for.
    taken : bool array
        Whether it is taken.
    always : int, optional
        Number of the thing that is taken whatever it has.
    """

    mass: Reals
    gamma: float
    taken: Bools
    always: int | None = None


@dataclass(frozen=True, eq=False)
class CoverageSelection(HeadSelection):
    """What one head attends to, and why.

    Members
    -------
    columns, diagonals : Cover
        Of the attention of the last block of queries; the main diagonal is the first one.
    pairs : Cover or None
        Of a query-aware head, pairs (query block, KV block) row by row, none above the diagonal.
    """

    columns: Cover
    diagonals: Cover
    pairs: Cover | None


def coverage(
    q: Any,
    k: Any,
    *,
    block: int = 128,
    gamma: float = 0.9,
    tau: float = 0.1,
    min_budget: int = 1024,
    max_budget: int | None = None,
) -> list[CoverageSelection]:
    """Select the KV blocks of each query block, for causal attention of all tokens to all.

    Parameters
    ----------
    q : array (heads, tokens, head_dim)
        Queries.
    k : array (kv_heads, tokens, head_dim)
        Keys; ``kv_heads`` divides ``heads``.
    block : int
        Tokens of a block.
    gamma : float
        Share of the attention that is to be covered, 0 to 1; with 1 every head is dense.
    tau : float
        Divergence below which a head is query-aware; 0: never.
    min_budget, max_budget : int
        Fewest and most tokens of columns, and of diagonals.

    Raises
    ------
    InputError
        When the arrays are no such tensors, or a number is out of range.
    """
    q, k = (np.asarray(x, np.float64) for x in (q, k))
    check_selection(q, k, block, gamma, tau, min_budget, max_budget)
    least, most = budgets(-(-q.shape[1] // block), block, min_budget, max_budget)
    group = len(q) // len(k)
    return [
        _of_head(q[head], k[head // group], block, gamma, tau, least, most)
        for head in range(len(q))
    ]


def smallest_cover(
    mass: Reals, gamma: float, *, always: int | None = None, least: int = 1, most: int | None = None
) -> Bools:
    """Return the fewest things, largest first, that have ``gamma`` of all mass.

    Parameters
    ----------
    mass : array
        Of each thing, 0 or more.
    gamma : float
        Share, 0 to 1; with 1 it is everything, what has no mass included.
    always : int, optional
        Number of the thing that is taken first, whatever it has.
    least, most : int
        Fewest and most things.
    """
    if gamma == 1:
        return np.ones(len(mass), bool)
    rank = -mass
    if always is not None:
        rank[always] = -np.inf
    order = np.argsort(rank, kind="stable")
    before = np.cumsum(mass[order]) - mass[order]
    count = int((before < gamma * mass.sum()).sum())
    count = min(max(count, least), len(mass) if most is None else most)
    taken = np.zeros(len(mass), bool)
    taken[order[:count]] = True
    return taken


def _of_head(
    q: Reals, k: Reals, block: int, gamma: float, tau: float, least: int, most: int
) -> CoverageSelection:
    n = -(-len(k) // block)
    row, column = np.indices((n, n))
    attended = last_queries(q, k, block)
    columns = block_sums(attended.mean(axis=0), block)
    diagonals = _diagonals(attended, block)
    means = block_means(k, block)
    foretold = softmax((q[-block:] / np.sqrt(q.shape[1])).mean(axis=0) @ means.T)
    divergence = divergence_of(foretold, columns, "zero")
    is_aware = bool(divergence < tau) and gamma < 1
    share = 0.0 if is_aware else gamma  # of a query-aware head as few as there may be
    vertical, slash = (
        Cover(mass, share, smallest_cover(mass, share, always=0, least=max(least, 1), most=most), 0)
        for mass in (columns, diagonals)
    )
    mask: Bools = vertical.taken[column] | slash.taken[np.maximum(row - column, 0)]
    causal = column <= row
    of_pairs = None
    if is_aware:
        means_of_queries = block_means(q, block)
        scores = np.where(causal, means_of_queries / np.sqrt(q.shape[1]) @ means.T, -np.inf)
        pairs = softmax(scores)[causal]
        of_pairs = Cover(pairs, gamma, smallest_cover(pairs, gamma))
        mask[causal] |= of_pairs.taken
    return CoverageSelection(
        pattern="query-aware" if is_aware else "vertical-slash",
        mask=mask & causal,
        divergence=divergence,
        n_vertical=int(vertical.taken.sum()),
        n_slash=int(slash.taken.sum()),
        columns=vertical,
        diagonals=slash,
        pairs=of_pairs,
    )


def _diagonals(attended: Reals, block: int) -> Reals:
    """Return the attention at each distance in blocks, nearest first."""
    rows, tokens = attended.shape
    sums = np.zeros(-(-tokens // block))
    for row in range(rows):
        distance = tokens - rows + row - np.arange(tokens)
        seen = distance >= 0
        np.add.at(sums, distance[seen] // block, attended[row, seen])
    means: Reals = sums / rows
    return means
