"""What a kernel's cache of KV blocks makes of a call, by its exact model, and what it counts."""

from dataclasses import replace
from typing import Any

from ...rtl.cache.visit import hot_above
from ...rtl.control.kernel_map import CACHE_COUNTERS
from ...rtl.kernel.kernel import Kernel
from ..cache.replay import Replay, replay
from ..cache.report import BlockBytes
from ..cache.rules import CacheRules
from ..cache.visits import told_apart, visits_of, what_is_needed
from ..deal import Call
from .beats import whole_beats
from .host import Host

__all__ = ["block_bytes", "count_events", "events_by_model", "replay_cache"]


def replay_cache(kernel: Kernel, call: Call) -> Replay:
    """Return what becomes of each visit of a call with a selection in the kernel's cache."""
    given = kernel.parameters
    of: dict[str, Any] = dict(given["cache"])
    block, query_blocks = given["block_rows"], -(-call.q.shape[1] // given["block_rows"])
    rules = CacheRules(
        of["policy"],
        hot=of["hot"],
        cold=of["cold"],
        threshold=hot_above(of["threshold"], query_blocks),
        lookahead=of["lookahead"],
    )
    assert call.block_mask is not None
    sizes = {"n_q": call.q.shape[1], "n_kv": call.k.shape[1], "q_start": call.q_start}
    needs = what_is_needed(call.block_mask, block=block, causal=call.causal, **sizes)
    places = len(given["lanes"]) * of["per_lane"]
    visits = visits_of(needs, kv_heads=len(call.k), pairs_per_window=places)
    told = told_apart(visits, blocks=needs.shape[-1], windows=of["windows"])
    return replace(replay(rules, told), visits=visits)


def block_bytes(kernel: Kernel, call: Call) -> BlockBytes:
    """Return the bytes of keys and values of a KV block in memory: whole beats for each tile."""
    given = kernel.parameters
    size, block = given["size"], given["block_rows"]
    n_kv, head_dim = call.k.shape[1:]
    per_head = -(-n_kv // block)

    def pair(tokens: int) -> int:
        tiles = (min(size, tokens - first) * head_dim for first in range(0, tokens, size))
        return 2 * sum(whole_beats(kernel, n, given["stationary_width"]) for n in tiles)

    return BlockBytes(pair(block), pair(n_kv - (per_head - 1) * block), per_head)


def count_events(host: Host) -> dict[str, int]:
    """Return what a kernel has counted of its cache: ``hits_cold``, ..., ``bypasses``."""
    return {name.removeprefix("cache_"): host.read(name) for name in CACHE_COUNTERS}


def events_by_model(made: Replay) -> dict[str, int]:
    """Return what a kernel is to count."""
    counts = made.counts()
    found = {}
    for name in CACHE_COUNTERS:
        event, _, tier = name.removeprefix("cache_").partition("_")
        number = getattr(counts, event)
        found[name.removeprefix("cache_")] = getattr(number, tier) if tier else number
    return found
