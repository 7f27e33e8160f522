"""How good a selection of KV blocks is, head by head: what it covers, and what others take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attention import Bools, Floats
from ..selection import density
from ..tensors import Shape
from .disagree import Disagreement
from .planted import attention_of
from .pool import block_sums

__all__ = ["Choice", "HeadRow", "attention_map", "covered_mass", "head_row", "jaccard"]

_CHUNK = 1 << 22
"""Probabilities held at a time."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What heads attend to.

    Members
    -------
    masks : bool array (heads, query blocks, KV blocks)
        The pairs of blocks; none above the diagonal.
    patterns : sequence of str
        Of each head: ``dense``, ``window``, ``vertical-slash``, ``query-aware`` or ``top-k``.
    flags : sequence of tuples of str
        Of each head, what is to be said of its input: ``flat``: all blocks look the same;
        ``single``: there is one block; ``fewer``: there are fewer than asked for; ``refused``.
    """

    masks: Bools
    patterns: Sequence[str]
    flags: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class HeadRow:
    """What is to be said of a head.

    Members
    -------
    head : int
        Number of the query head.
    pattern, flags
        As of :class:`Choice`.
    blocks : int
        Pairs of blocks kept.
    covered_mass : float
        Share of its attention inside of them, the mean over all queries.
    jaccard : float
        Pairs that both keep over pairs that one keeps: with the same rule in float64.
    jaccard_exact : float
        The same with FlexPrefill, token by token.
    density : float
        Share of visible (query, key) pairs inside.
    cycles, k_bytes : int
        That the selection took, and bytes of keys that it read.
    disagreements : tuple of Disagreement, or None
        With the same rule in float64; None of methods that have none to list.
    """

    head: int
    pattern: str
    blocks: int
    covered_mass: float
    jaccard: float
    jaccard_exact: float
    density: float
    cycles: int
    k_bytes: int
    flags: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] | None = None


def attention_map(q: Any, k: Any, block: int) -> Floats:
    """Return where a head attends, (query blocks, KV blocks): the mean of each query block's rows.

    Causal attention of all tokens to all, in float64; rows sum to 1. It is computed by chunks of
    rows, each with the keys that it sees.

    Parameters
    ----------
    q, k : array (tokens, head_dim)
        Queries and keys of the head.
    block : int
        Tokens of a block.
    """
    tokens = len(k)
    n = -(-tokens // block)
    attended = np.zeros((n, n))
    step = max(_CHUNK // tokens // block, 1) * block
    for start in range(0, tokens, step):
        rows = np.arange(start, min(start + step, tokens))
        columns = block_sums(attention_of(q, k[: rows[-1] + 1], rows).T, block).T
        sums = block_sums(columns, block)
        first = start // block
        attended[first : first + len(sums), : sums.shape[1]] = sums
    return attended / _rows_of(tokens, block)[:, None]


def covered_mass(attended: Floats, mask: Bools, tokens: int, block: int) -> float:
    """Return the mean share of a query's attention inside of the blocks of ``mask``.

    ``attended`` is what :func:`attention_map` says of the head.
    """
    of_rows = (attended * mask).sum(axis=1)
    return float(of_rows @ _rows_of(tokens, block) / tokens)


def jaccard(a: Bools, b: Bools) -> float:
    """Return what two selections have in common, over what one of them has; 1 of two empty ones."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def head_row(
    head: int,
    choice: Choice,
    attended: Floats,
    *,
    tokens: int,
    block: int,
    reference: Bools,
    exact: Bools,
    cycles: int = 0,
    k_bytes: int = 0,
) -> HeadRow:
    """Return what is to be said of a head.

    Parameters
    ----------
    head : int
        Its number.
    choice : Choice
        Of all heads.
    attended : array (query blocks, KV blocks)
        Where it attends (:func:`attention_map`).
    tokens, block : int
        Of the context; tokens of a block.
    reference, exact : bool array (query blocks, KV blocks)
        What the same rule takes in float64, and what FlexPrefill takes.
    cycles, k_bytes : int
        That the selection took, and bytes of keys that it read.
    """
    mask = choice.masks[head]
    shape = Shape(batch=1, heads=1, kv_heads=1, n_q=tokens, n_kv=tokens, head_dim=1)
    return HeadRow(
        head=head,
        pattern=choice.patterns[head],
        blocks=int(mask.sum()),
        covered_mass=covered_mass(attended, mask, tokens, block),
        jaccard=jaccard(mask, reference),
        jaccard_exact=jaccard(mask, exact),
        density=density(mask, block, shape, causal=True),
        cycles=cycles,
        k_bytes=k_bytes,
        flags=choice.flags[head],
    )


def _rows_of(tokens: int, block: int) -> Floats:
    """Return the queries of each block."""
    return np.diff([*range(0, tokens, block), tokens]).astype(float)
