"""What a cache saves: its counts, and what memory has to deliver without it, with LRU, at best."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..attention import Bools
from .bounds import belady, lru
from .life import occupancy, stays_of
from .replay import Replay, replay
from .rules import CacheRules
from .visits import Visits, visits_of, what_is_needed

__all__ = ["PAPER", "BlockBytes", "cache_report", "describe_replay"]

PAPER = {"hit_rate": 0.65, "speedup": 2.5}
"""FAST-Prefill, ablation of the cache: share of hits, and time to the first token without it."""


@dataclass(frozen=True)
class BlockBytes:
    """Bytes of block pairs.

    Members
    -------
    whole : int
        Bytes of K and V of a block.
    last : int
        The same of each KV head's last one, which has the tokens that there are.
    per_head : int
        Blocks of a KV head.
    """

    whole: int
    last: int
    per_head: int

    def of(self, visits: Visits, fetched: Bools) -> int:
        """Return the bytes of those visits that are fetched."""
        is_last = visits.block % self.per_head == self.per_head - 1
        n, n_last = int(fetched.sum()), int((fetched & is_last).sum())
        return (n - n_last) * self.whole + n_last * self.last


def cache_report(
    masks: Bools,
    rules: CacheRules,
    *,
    kv_heads: int,
    pairs_per_window: int,
    block: int,
    n_q: int,
    n_kv: int,
    token_bytes: int,
    causal: bool = True,
    q_start: int = 0,
) -> tuple[dict[str, Any], Replay]:
    """Replay an attention call through the exact model.

    Parameters
    ----------
    masks : bool array (heads, query blocks, KV blocks)
        The selection; all of it for dense attention.
    rules : CacheRules
        What the cache decides by.
    kv_heads, pairs_per_window
        As of :func:`~.visits.visits_of`.
    block : int
        Tokens of a block.
    n_q, n_kv, causal, q_start
        The call, as of :class:`qkloom.tb.deal.Call`.
    token_bytes : int
        Bytes of a token's key and value in one head.

    Returns
    -------
    dict and Replay
        The figures of :func:`describe_replay`, and each decision.
    """
    needs = what_is_needed(masks, block=block, n_q=n_q, n_kv=n_kv, causal=causal, q_start=q_start)
    visits = visits_of(needs, kv_heads=kv_heads, pairs_per_window=pairs_per_window)
    per_head = needs.shape[-1]
    rest = n_kv - (per_head - 1) * block
    sizes = BlockBytes(block * token_bytes, rest * token_bytes, per_head)
    made = replay(rules, visits)
    return {**describe_replay(made, sizes), "pairs_per_window": pairs_per_window}, made


def describe_replay(made: Replay, sizes: BlockBytes) -> dict[str, Any]:
    """Return the figures of a replay.

    ``hits misses bypasses evictions`` are of both tiers, ``tiers`` has those of each; ``bytes`` are
    of K and V that are fetched, ``bytes_...`` what they would be: ``no_cache``, every visit
    fetches; ``lru`` and ``belady``, with as many slots; ``once``, each block once;
    ``no_multicast``, each job fetches. ``live`` are blocks that have any job. ``occupancy`` is over
    time: block pairs of each tier that hold a block, means over sixteenths of the visits, and the
    ``most`` of both.
    """
    visits, rules, counts = made.visits, made.rules, made.counts()
    all_of = np.ones(len(visits), bool)
    _, first = np.unique(visits.block, return_index=True)
    once = np.zeros(len(visits), bool)
    once[first] = True
    fetched = {
        "bytes": made.fetched,
        "bytes_no_cache": all_of,
        "bytes_lru": lru(visits, rules.slots),
        "bytes_belady": belady(visits, rules.slots),
        "bytes_once": once,
    }
    n_bytes = {name: sizes.of(visits, which) for name, which in fetched.items()}
    is_last = visits.block % sizes.per_head == sizes.per_head - 1
    job_bytes = np.where(is_last, sizes.last, sizes.whole)
    tiers = {
        tier: {
            "slots": getattr(rules, tier),
            **{name: getattr(getattr(counts, name), tier) for name in ("hits", "fills")},
            "evictions": getattr(counts.evictions, tier),
        }
        for tier in ("hot", "cold")
    }
    return {
        **asdict(rules),
        "visits": counts.visits,
        "jobs": counts.jobs,
        "live": len(first),
        "hits": counts.hits.total,
        "misses": counts.misses,
        "bypasses": counts.bypasses,
        "evictions": counts.evictions.total,
        "tiers": tiers,
        "occupancy": _occupancy(made),
        "jobs_per_visit": counts.jobs / counts.visits,
        "hit_rate": counts.hits.total / counts.visits,
        "hit_rate_jobs": counts.job_hits / counts.jobs,
        "served_without_fetch": 1 - counts.misses / counts.jobs,
        **n_bytes,
        "bytes_no_multicast": int((visits.jobs * job_bytes).sum()),
    }


def _occupancy(made: Replay) -> dict[str, Any]:
    """Return how many slots held a block, over time."""
    hot, cold = occupancy(stays_of(made), made)
    parts = min(16, len(made.visits))
    means = {
        name: [float(part.mean()) for part in np.array_split(held, parts)]
        for name, held in (("hot", hot), ("cold", cold))
    }
    return {**means, "most": int((hot + cold).max())}
