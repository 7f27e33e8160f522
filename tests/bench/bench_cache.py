"""What the cache fetches, beside Belady's optimum and LRU, and how long its replay takes.

Contexts are generated, of four heads to a KV head; coverage selects in float64. Beside LRU,
windows have 12 pairs, one for each lane of u280: three query blocks of the four heads. Ratios are
the worst of several contexts of each family.
"""

import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from qkloom.gen.cache import JobList, generate_jobs, run_cache
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.tb.cache.replay import replay
from qkloom.tb.cache.rules import POLICIES, CacheRules
from qkloom.tb.cache.visits import visits_of, what_is_needed
from qkloom.tb.index.contexts import families

CHIP = read_chip("u280")
LENGTHS = (32_768, 131_072)
SIZES = (16, 32, 64, 128, 256, 512)
"""Block pairs; for those below 64 nothing is asked."""
WINDOWS = (8, 12, 24)
UNSTRUCTURED = ("flat",)
SEEDS = (1, 2, 3)


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    for tokens in LENGTHS:
        for family in families():
            chip = CHIP.replace(tokens=tokens)
            lists = [generate_jobs(chip, family, tokens, seed=seed) for seed in SEEDS]
            yield from _beside_belady(chip, family, lists)
            yield from _beside_lru(chip, family, lists)
    yield from _times()


def _beside_belady(
    chip: ChipDescription, family: str, lists: list[JobList]
) -> Iterator[dict[str, Any]]:
    """Yield the worst of all sizes with 64 block pairs and more, and of those below."""
    for is_asked in (True, False):
        found = []
        for jobs, size, window in product(lists, SIZES, WINDOWS):
            live = _live(jobs)
            if size < live and (size >= 64) == is_asked:
                of = run_cache(chip, jobs, blocks=size, window=window).report["cache"]
                assert 8 * of["lookahead"] <= size
                found.append((of["bytes"] / of["bytes_belady"], size, window, live, of))
        ratio, size, window, live, of = max(found, key=lambda one: one[0])
        sizes = "64 block pairs or more" if is_asked else "16 or 32 block pairs"
        yield {
            "name": f"{family}, {chip.tokens:,} tokens: bytes beside Belady's, {sizes}",
            "value": ratio,
            "unit": "",
            "asked": 1.05 if is_asked else None,
            "better": "less",
            "how": f"worst of {len(lists)} contexts, all sizes below the live blocks, windows of "
            f"8, 12, 24 pairs: {size} of {live}, {window}; lookahead {of['lookahead']}, "
            f"{of['hit_rate']:.1%} hits",
        }


def _beside_lru(
    chip: ChipDescription, family: str, lists: list[JobList]
) -> Iterator[dict[str, Any]]:
    """Yield bytes beside LRU with a quarter and half of the live set: never more, mostly fewer."""
    for share in (4, 2):
        found = []
        for jobs in lists:
            size = _live(jobs) // share
            of = run_cache(chip, jobs, blocks=size).report["cache"]
            liveness = run_cache(chip, jobs, blocks=size, policy="liveness").report["cache"]
            found.append((of["bytes"] / of["bytes_lru"], size, of, liveness))
        ratio, size, of, liveness = max(found, key=lambda one: one[0])
        # Fewer: by one visit's bytes at least, of a block with all its tokens.
        fewer = 1 - chip.head_dim * chip.block * 2 / of["bytes_lru"]
        yield {
            "name": f"{family}, {chip.tokens:,} tokens: bytes beside LRU, 1/{share} of live blocks",
            "value": ratio,
            "unit": "",
            "asked": 1.0 if family in UNSTRUCTURED else fewer,
            "better": "less",
            "how": f"worst of {len(lists)} contexts, {size} block pairs; beside no cache "
            f"{of['bytes'] / of['bytes_no_cache']:.3f}, liveness beside LRU "
            f"{liveness['bytes'] / of['bytes_lru']:.3f}; "
            f"{of['jobs_per_visit']:.2f} jobs a visit",
        }


def _live(jobs: JobList) -> int:
    """Return how many blocks are needed at all."""
    return int(jobs.needs.any(axis=(0, 1)).sum())


def _times() -> Iterator[dict[str, Any]]:
    """Yield what a replay takes from masks to decisions, of random masks: as bad as it gets."""
    rng = np.random.default_rng(1)
    masks = np.tril(rng.random((4, 1024, 1024)) < 0.1)
    for window in (8, 24):
        for slots in (64, 256, 512):
            worst = max(_time(masks, policy, slots, window) for policy in POLICIES)
            yield {
                "name": f"replay, {slots} block pairs, windows of {window} pairs",
                "value": 1000 * worst[0],
                "unit": "ms",
                "asked": 50,
                "better": "less",
                "how": f"{masks.sum():,} jobs of four heads, 131,072 tokens, 10 %, from masks; the "
                f"slowest policy, {worst[1]}; best of 5",
            }


def _time(masks: Any, policy: str, slots: int, window: int) -> tuple[float, str]:
    """Return the seconds of the best of several runs, the first of which may build a library."""
    rules = CacheRules(policy, hot=slots // 2, cold=slots // 2, threshold=512, lookahead=8)
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        needs = what_is_needed(masks, block=128, n_q=131_072, n_kv=131_072, causal=True)
        replay(rules, visits_of(needs, kv_heads=1, pairs_per_window=window))
        taken.append(time.perf_counter() - start)
    return min(taken[1:]), policy
