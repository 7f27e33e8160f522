"""FlexPrefill's selection of KV blocks, token by token as its authors compute it.

The last ``block`` queries of a head attend to all keys; their attention, summed up along columns
(*verticals*) and along diagonals (*slashes*), says which block columns and block diagonals all
query blocks take. Where the distribution over block columns is close to what averaged keys
foretell, the head is *query-aware*: averaged queries times averaged keys choose single pairs of
blocks. FlexPrefill: arXiv 2502.20766 and its public code; what differs there from the paper is a
switch of :class:`FlexPrefillRules`, the code's way the default.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..attention import Bools
from ..errors import InputError
from .pool import (
    Reals,
    block_means,
    block_sums,
    budgets,
    check_rule,
    divergence_of,
    largest,
    last_queries,
    softmax,
)

__all__ = [
    "FlexPrefillRules",
    "HeadSelection",
    "Pattern",
    "check_selection",
    "cover",
    "flexprefill",
]

Pattern = Literal["dense", "vertical-slash", "query-aware"]


@dataclass(frozen=True)
class FlexPrefillRules:
    """What the public code does and the paper does not say.

    Members
    -------
    cover_unit : int or None
        Tokens that count as a block when it is known how many tokens cover ``gamma``: 128 in the
        code, whatever the block is. ``None``: as many as a block has.
    keeps_sink, keeps_diagonal : bool
        The first block column, and the main block diagonal, are always taken.
    keeps_first : bool
        The pair (0, 0) is always taken: the code fills lists up with it.
    both_diagonals : bool
        A token diagonal reaches two block diagonals; the code takes the nearer one only.
    zero_log : str
        What ``p ln(p / m)`` is of a probability that is 0: ``"nan"``, as in the code, where the
        head is not query-aware then, or ``"zero"``, its limit.
    dtype : type
        Of all sums; the code has float32.
    """

    cover_unit: int | None = 128
    keeps_sink: bool = True
    keeps_diagonal: bool = True
    keeps_first: bool = True
    both_diagonals: bool = False
    zero_log: Literal["nan", "zero"] = "nan"
    dtype: type = np.float32


@dataclass(frozen=True)
class HeadSelection:
    """What one head attends to.

    Members
    -------
    pattern : str
        ``dense``, ``vertical-slash`` or ``query-aware``.
    mask : bool array (query blocks, KV blocks)
        The pairs of blocks; none above the diagonal.
    divergence : float
        Square root of the Jensen-Shannon divergence, natural logarithm; NaN if not computed.
    n_vertical, n_slash : int
        Block columns and block diagonals taken.
    """

    pattern: Pattern
    mask: Bools
    divergence: float
    n_vertical: int
    n_slash: int

    @property
    def density(self) -> float:
        """Pairs taken, of those that causal attention has."""
        n = len(self.mask)
        return float(self.mask.sum() / (n * (n + 1) / 2))


def flexprefill(
    q: Any,
    k: Any,
    *,
    block: int = 128,
    gamma: float = 0.9,
    tau: float = 0.1,
    min_budget: int = 1024,
    max_budget: int | None = None,
    rules: FlexPrefillRules = FlexPrefillRules(),
    dense_below: int | None = None,
) -> list[HeadSelection]:
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
        Share of the attention that is to be covered, 0 to 1.
    tau : float
        Divergence below which a head is query-aware; 0: never.
    min_budget, max_budget : int
        Fewest and most tokens of columns, and of diagonals.
    rules : FlexPrefillRules
        What the code does, or another way.
    dense_below : int, optional
        Tokens up to which every head is dense; by default two blocks or the least budget, as in
        the code. 0: none is.

    Raises
    ------
    InputError
        When the arrays are no such tensors, or a number is out of range.
    """
    q, k = (np.asarray(x, rules.dtype) for x in (q, k))
    check_selection(q, k, block, gamma, tau, min_budget, max_budget)
    heads, tokens, _ = q.shape
    n = -(-tokens // block)
    least, most = budgets(n, block, min_budget, max_budget)
    if dense_below is None:
        dense_below = max(2 * block, -(-min_budget // block) * block)
    if tokens <= dense_below:
        causal = np.tril(np.ones((n, n), bool))
        return [HeadSelection("dense", causal, float("nan"), n, n) for _ in range(heads)]
    group = heads // len(k)
    return [
        _of_head(q[head], k[head // group], block, gamma, tau, least, most, rules)
        for head in range(heads)
    ]


def cover(x: Reals, gamma: float) -> int:
    """Return how many of the largest numbers it takes for their sum to go beyond ``gamma``."""
    return int((np.cumsum(np.sort(x)[::-1]) <= gamma).sum()) + 1


def _of_head(
    q: Reals,
    k: Reals,
    block: int,
    gamma: float,
    tau: float,
    least: int,
    most: int,
    rules: FlexPrefillRules,
) -> HeadSelection:
    n = -(-len(k) // block)
    unit = rules.cover_unit or block
    attended = last_queries(q, k, block)
    vertical = attended.mean(axis=0)
    slash = _slashes(attended)
    n_vertical, n_slash = (
        int(np.clip(cover(x, gamma) // unit + 1, least, most)) for x in (vertical, slash)
    )
    columns, diagonals = (block_sums(x, block) for x in (vertical, slash))
    means = block_means(k, block)
    foretold = softmax((q[-block:] / np.sqrt(q.dtype.type(q.shape[1]))).mean(axis=0) @ means.T)
    divergence = divergence_of(foretold, columns, rules.zero_log)
    is_aware = bool(divergence < tau)  # false of NaN
    if is_aware:
        n_vertical = n_slash = least
    if rules.keeps_sink:
        columns[0] = np.inf
    if rules.keeps_diagonal:
        diagonals[-1] = np.inf
    mask = np.zeros((n, n), bool)
    mask[:, largest(columns, n_vertical)] = True
    row, column = np.indices((n, n))
    offsets = (n - 1) - largest(diagonals, n_slash)
    if rules.both_diagonals:
        offsets = np.union1d(offsets, offsets + 1)
    mask |= np.isin(row - column, offsets)
    if rules.keeps_first:
        mask[0, 0] = True
    if is_aware:
        mask |= _pairs(block_means(q, block), means, gamma)
    mask &= column <= row
    pattern: Pattern = "query-aware" if is_aware else "vertical-slash"
    return HeadSelection(pattern, mask, divergence, n_vertical, n_slash)


def _slashes(attended: Reals) -> Reals:
    """Return the mean along each diagonal; the last one is the main diagonal."""
    rows, tokens = attended.shape
    slash = np.zeros(tokens, attended.dtype)
    for row in range(rows):
        shift = rows - 1 - row
        slash[shift:] += attended[row, : tokens - shift]
    mean: Reals = slash / attended.dtype.type(rows)
    return mean


def _pairs(queries: Reals, keys: Reals, gamma: float) -> Bools:
    """Return the pairs of blocks with the most attention among averages."""
    n, head_dim = queries.shape
    scores = queries / np.sqrt(queries.dtype.type(head_dim)) @ keys.T
    scores[np.triu_indices(n, 1)] = -np.inf
    p = softmax(scores).reshape(-1)
    order = np.argsort(-p, kind="stable")
    kept = np.cumsum(p[order]) <= gamma * n
    mask = np.zeros(n * n, bool)
    mask[order[kept]] = True
    return mask.reshape(n, n)


def check_selection(
    q: Reals,
    k: Reals,
    block: int,
    gamma: float,
    tau: float,
    min_budget: int,
    max_budget: int | None,
) -> None:
    """Refuse what no rule can select from.

    Raises
    ------
    InputError
        With what is wrong.
    """
    if q.ndim != 3 or k.ndim != 3 or q.shape[1:] != k.shape[1:] or len(q) % len(k):
        raise InputError(
            "q and k must be (heads, tokens, head_dim), with as many tokens and heads in whole "
            f"groups, not {q.shape} and {k.shape}"
        )
    if block < 1:
        raise InputError(f"block must be at least 1 token, not {block}; use 128")
    check_rule(gamma, tau, min_budget, max_budget)
