"""A list of jobs through a chip's cache."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...rtl.cache.visit import POLICIES
from ...tb.cache.replay import Replay, replay
from ...tb.cache.report import BlockBytes, describe_replay
from ...tb.cache.rules import CacheRules
from ...tb.cache.visits import visits_of
from ...tb.errors import InputError
from ..chip import ChipDescription
from ..chip.defaults import default_lookahead
from ..mistakes import suggestion
from .jobs import JobList

__all__ = ["CacheRun", "run_cache"]

_MOST = 1 << 17
"""What an option may be: as many block pairs as both tiers of a description may have."""


@dataclass(frozen=True, eq=False)
class CacheRun:
    """What came of a replay.

    Members
    -------
    report : dict
        ``chip``, ``origin``, sizes, and ``cache``: what
        :func:`qkloom.tb.cache.report.describe_replay` tells.
    replay : Replay
        Each decision.
    """

    report: Mapping[str, Any]
    replay: Replay


def run_cache(
    chip: ChipDescription,
    jobs: JobList,
    *,
    policy: str | None = None,
    blocks: int | None = None,
    hot: int | None = None,
    lookahead: int | None = None,
    horizon: int | None = None,
    window: int | None = None,
) -> CacheRun:
    """Replay a list of jobs; what is not given is the chip's.

    Parameters
    ----------
    chip : ChipDescription
        Sizes of blocks and of windows, and the cache.
    jobs : JobList
        The jobs.
    policy : str, optional
        One of ``POLICIES``.
    blocks, hot : int, optional
        Block pairs of both tiers, and those of the hot one: half if only ``blocks`` are given.
    lookahead : int, optional
        Visits that are granted ahead.
    horizon : int, optional
        Windows in which the next use is known; all if absent.
    window : int, optional
        Pairs of a query block and a head that a window has.

    Raises
    ------
    InputError
        When they do not go together.
    """
    pairs = chip.pairs_per_window
    if window is not None:
        pairs = _between("--window", window, 1, _MOST)
    visits = visits_of(jobs.needs, kv_heads=jobs.kv_heads, pairs_per_window=pairs)
    if jobs.uses is not None:
        visits = replace(visits, uses=jobs.uses)
    rules = _rules(chip, jobs, policy, blocks, hot, lookahead, horizon)
    made = replay(rules, visits)
    block_bytes = 2 * chip.block * chip.head_dim * chip.stationary_width // 8
    n_blocks = jobs.needs.shape[-1]
    report = {
        "chip": chip.name,
        "origin": jobs.origin,
        "heads": len(jobs.needs),
        "kv_heads": jobs.kv_heads,
        "query_blocks": jobs.needs.shape[1],
        "kv_blocks": n_blocks,
        "pairs_per_window": pairs,
        "block_bytes": block_bytes,
        "cache": describe_replay(made, BlockBytes(block_bytes, block_bytes, n_blocks)),
    }
    return CacheRun(report, made)


def _rules(
    chip: ChipDescription,
    jobs: JobList,
    policy: str | None,
    blocks: int | None,
    hot: int | None,
    lookahead: int | None,
    horizon: int | None,
) -> CacheRules:
    of = chip.cache
    policy = of.policy if policy is None else policy
    if policy not in POLICIES:
        raise InputError(
            f"--policy must be one of {', '.join(POLICIES)}, not {policy!r}"
            f"{suggestion(policy.lower(), POLICIES)}"
        )
    slots = of.hot_blocks + of.cold_blocks
    if blocks is not None:
        slots = _between("--blocks", blocks, 0 if policy == "none" else 1, _MOST)
    elif not slots and policy != "none":
        raise InputError(
            f"--blocks must be given with policy {policy}, since {chip.name} has no cache by "
            "itself; for example --blocks 64"
        )
    if hot is None:
        hot = of.hot_blocks if blocks is None else slots // 2
    if not 0 <= hot <= slots:
        raise InputError(f"--hot must be 0 to {slots}, the block pairs of both tiers, not {hot}")
    own = of.lookahead if blocks is None else None
    if lookahead is None:
        lookahead = own or default_lookahead(slots)
    elif not 1 <= lookahead <= slots:
        raise InputError(f"--lookahead must be 1 to {slots}, the block pairs, not {lookahead}")
    if horizon is not None:
        _between("--horizon", horizon, 1, _MOST)
    return CacheRules(
        policy,
        hot=hot,
        cold=slots - hot,
        threshold=chip.hot_above(jobs.needs.shape[1]),
        lookahead=lookahead,
        horizon=horizon,
    )


def _between(option: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InputError(f"{option} must be {least} to {most:,}, not {value}")
    return value
