"""Exact model of the coverage unit: KV blocks of each query block, with the hardware's bits."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints
from ..quantize import Int8s
from .block_pool import pool_block_means
from .head import Ask, Verdict, select_head
from .masses import BlockMasses, block_masses
from .pairs import pair_shares
from .pool import budgets, check_rule

__all__ = ["CoverageRule", "ExactHead", "exact_coverage"]


@dataclass(frozen=True, kw_only=True)
class CoverageRule:
    """What coverage is asked for.

    Parameters
    ----------
    gamma : float
        Share of attention, 0 to 1; with 1 every head is dense.
    tau : float
        Divergence below which a head is query-aware, 0 to 1; 0: never.
    min_budget : int
        Fewest tokens of columns, and of diagonals.
    max_budget : int, optional
        Most of them.

    Raises
    ------
    InputError
        When a number is out of range, or the budgets contradict each other.
    """

    gamma: float = 0.9
    tau: float = 0.1
    min_budget: int = 1024
    max_budget: int | None = None

    def __post_init__(self) -> None:
        check_rule(**vars(self))

    def ask(self, blocks: int, block: int, mantissa: int, shift: int) -> Ask:
        """Return what the hardware is asked of a head of ``blocks`` blocks."""
        least, most = budgets(blocks, block, self.min_budget, self.max_budget)
        return Ask(
            mantissa=mantissa,
            shift=shift,
            gamma=IndexNumerics.encode_gamma(self.gamma),
            limit=IndexNumerics.encode_tau(self.tau),
            least=least,
            most=most,
        )


@dataclass(frozen=True)
class ExactHead:
    """A head: what its last queries attend to, and what is selected."""

    masses: BlockMasses
    verdict: Verdict


def exact_coverage(
    q: Int8s,
    k: Int8s,
    mantissa: Any,
    shift: Any,
    numerics: IndexNumerics,
    rule: CoverageRule = CoverageRule(),
    *,
    pairs: bool = True,
) -> list[ExactHead]:
    """Select the KV blocks of each query block, for causal attention of all tokens to all.

    Parameters
    ----------
    q : int8 array (heads, tokens, head_dim)
        Queries.
    k : int8 array (kv_heads, tokens, head_dim)
        Keys; ``kv_heads`` divides ``heads``.
    mantissa, shift : int arrays (heads,)
        Score factor of each head.
    numerics : IndexNumerics
        The numbers of the unit.
    rule : CoverageRule
        What is asked for.
    pairs : bool
        Whether the unit knows query-aware heads.
    """
    group = len(q) // len(k)
    blocks = -(-q.shape[1] // numerics.block)
    causal = np.tril(np.ones((blocks, blocks), bool))
    pooling = {"block": numerics.block, "fraction": numerics.pool_fraction}
    pooled: dict[int, Ints] = {}
    heads = []
    for head, queries in enumerate(q):
        keys, factor = k[head // group], (int(mantissa[head]), int(shift[head]))
        ask = rule.ask(blocks, numerics.block, *factor)
        masses = block_masses(queries, keys, *factor, numerics)
        shares = None
        if pairs:
            if head // group not in pooled:
                pooled[head // group] = pool_block_means(keys, **pooling)
            of_queries = pool_block_means(queries, **pooling)
            shares = pair_shares(of_queries, pooled[head // group], *factor, numerics)[causal]
        heads.append(ExactHead(masses, select_head(masses, ask, numerics, pairs=shares)))
    return heads
