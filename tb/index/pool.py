"""Sums over blocks, and what index rules ask of a head's last queries."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = [
    "Reals",
    "block_means",
    "block_sums",
    "budgets",
    "check_rule",
    "divergence_of",
    "largest",
    "last_queries",
    "softmax",
]

Reals = NDArray[Any]
"""Floating-point numbers; results have the type of what is given."""


def last_queries(q: Reals, k: Reals, block: int) -> Reals:
    """Return the attention (block, tokens) of a head's last ``block`` queries."""
    tokens, head_dim = q.shape
    rows = min(block, tokens)
    scores = (q[-rows:] / np.sqrt(q.dtype.type(head_dim))) @ k.T
    scores[:, -rows:][np.triu_indices(rows, 1)] = -np.inf
    return softmax(scores)


def softmax(scores: Reals) -> Reals:
    """Return probabilities along the last axis."""
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    normalized: Reals = p / p.sum(axis=-1, keepdims=True)
    return normalized


def block_sums(x: Reals, block: int) -> Reals:
    """Return sums of blocks along the first axis; the last one may have less."""
    sums: Reals = np.add.reduceat(x, np.arange(0, len(x), block), axis=0)
    return sums


def block_means(x: Reals, block: int) -> Reals:
    """Return means of blocks along the first axis, of as many as there are."""
    counts = np.diff([*range(0, len(x), block), len(x)])
    means: Reals = block_sums(x, block) / counts[:, None].astype(x.dtype)
    return means


def budgets(n: int, block: int, least: int, most: int | None) -> tuple[int, int]:
    """Return the fewest and the most of ``n`` blocks, of budgets in tokens."""
    return min(-(-least // block), n), n if most is None else min(max(most // block, 1), n)


def check_rule(gamma: float, tau: float, min_budget: int, max_budget: int | None) -> None:
    """Refuse shares and budgets that no rule of coverage can have.

    Raises
    ------
    InputError
        With what is wrong.
    """
    for name, value in (("gamma", gamma), ("tau", tau)):
        if not 0 <= value <= 1:
            raise InputError(f"{name} must be 0 to 1, not {value}")
    if min_budget < 0 or (max_budget is not None and max_budget < max(min_budget, 1)):
        raise InputError(
            f"Budgets must be 0 or more, the largest not below the smallest, "
            f"not {min_budget} and {max_budget}"
        )


def largest(x: Reals, n: int) -> NDArray[np.intp]:
    """Return the places of the ``n`` largest; of equal ones, the first."""
    return np.argsort(-x, kind="stable")[:n]


def divergence_of(p: Reals, v: Reals, zero_log: str) -> float:
    """Return the square root of the Jensen-Shannon divergence, by the natural logarithm.

    ``p ln(p / m)`` of a probability that is 0 is NaN, or 0 with ``zero_log="zero"``.
    """
    m = (p + v) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [x * np.log(x / m) for x in (p, v)]
    if zero_log == "zero":
        terms = [np.where(x == 0, 0, term) for x, term in zip((p, v), terms, strict=True)]
    return float(np.sqrt(np.maximum(sum(term.sum() for term in terms) / 2, 0)))
