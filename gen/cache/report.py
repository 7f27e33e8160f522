"""A replay in words: a table, and what stands behind its figures."""

from collections.abc import Mapping
from typing import Any

from ...tb.cache.report import PAPER

__all__ = ["describe", "simulated_rows", "tabulate", "title"]


def title(report: Mapping[str, Any]) -> str:
    """Return a line on what was replayed."""
    of = report["cache"]
    size = "no cache" if of["policy"] == "none" else f"{of['policy']}, {of['hot'] + of['cold']}"
    pairs = "" if of["policy"] == "none" else " block pairs"
    return f"{report['origin']}: {size}{pairs}"


def tabulate(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of figures."""
    of = report["cache"]
    horizon = "all windows" if of["horizon"] is None else f"{of['horizon']} windows"
    rows = {
        "jobs": f"{of['jobs']:,} of {report['heads']} heads, {report['kv_heads']} of keys, "
        f"{report['query_blocks']:,} query blocks",
        "visits": f"{of['visits']:,} in windows of {report['pairs_per_window']} pairs: "
        f"{of['jobs_per_visit']:.2f} jobs each",
        "blocks with jobs": f"{of['live']:,} of {report['kv_heads'] * report['kv_blocks']:,}",
    }
    if of["policy"] != "none":
        rows["lookahead in visits"] = f"{of['lookahead']}"
        if of["policy"] == "next-use":
            rows["next use is known for"] = horizon
        rows["hot above"] = f"{of['threshold']:,} jobs left"
        for tier, has in of["tiers"].items():
            rows[f"{tier} tier, {has['slots']:,} block pairs"] = (
                f"{has['hits']:,} hits, {has['fills']:,} fills, {has['evictions']:,} evictions"
            )
        rows["block pairs held, over time"] = _held(of)
    rows |= {
        "hits": f"{of['hits']:,}",
        "misses": f"{of['misses']:,}, of them bypasses {of['bypasses']:,}",
        "evictions": f"{of['evictions']:,}",
        "hit rate by visit, by job": f"{of['hit_rate']:.1%}, {of['hit_rate_jobs']:.1%}",
        "bytes": f"{of['bytes']:,}",
    }
    for name, word in (
        ("bytes_no_cache", "without cache"),
        ("bytes_lru", "LRU"),
        ("bytes_belady", "Belady's optimum"),
    ):
        rows[f"bytes, {word}"] = f"{of[name]:,}; fetched: {of['bytes'] / of[name]:.3f} of it"
    return ["", title(report)], list(map(list, rows.items()))


def _held(of: Mapping[str, Any]) -> str:
    """Return block pairs that are held, over time."""
    held = of["occupancy"]
    both = [hot + cold for hot, cold in zip(held["hot"], held["cold"], strict=True)]
    every = both[:: max(len(both) // 8, 1)]
    return f"{', '.join(f'{n:.0f}' for n in every)}; {held['most']:,} at most"


def describe(report: Mapping[str, Any]) -> list[str]:
    """Return lines to stand below the table: FAST-Prefill's figures, and why ours differ."""
    of = report["cache"]
    most = 1 - of["live"] / of["visits"]
    multicast = 1 - of["visits"] / of["jobs"]
    saved = of["bytes_no_cache"] / of["bytes"]
    paper_rate, paper_gain = f"{PAPER['hit_rate']:.0%}", f"{PAPER['speedup']} times"
    fetches = (1 - PAPER["hit_rate"]) * of["jobs"]
    reach = "within" if saved >= PAPER["speedup"] else "beyond"
    paper = (
        f"FAST-Prefill: hit rate {paper_rate}, and {paper_gain} the time to the first token "
        f"without cache; here {of['hit_rate']:.1%} of the visits, and {saved:.2f} times the bytes"
    )
    by_visit = (
        f"a visit serves {of['jobs_per_visit']:.2f} jobs, so that {multicast:.1%} of the jobs need "
        "no fetch, whatever the cache is; fetched once for each job, it would be "
        f"{of['bytes_no_multicast']:,} bytes"
    )
    by_job = (
        f"counted by jobs, {of['served_without_fetch']:.1%} need no fetch (1 - misses / jobs): "
        f"{paper_rate} would leave {fetches:,.0f} fetches, here are {of['misses']:,}"
    )
    least = (
        f"{of['live']:,} blocks are fetched once at least: no cache finds more than {most:.1%} of "
        f"the visits, nor fetches less than {of['bytes_once']:,} bytes"
    )
    time = (
        f"time follows bytes only while memory is the limit: {paper_gain} is {reach} what these "
        "bytes allow"
    )
    return [paper, by_visit, by_job, least, time]


def simulated_rows(report: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a cache that ran in hardware; nothing if there was none."""
    if "cache" not in report:
        return {}
    of = report["cache"]
    pairs = f"{of['hot']:,} hot and {of['cold']:,} cold block pairs"
    rows = {
        "cache": f"{of['policy']}, {pairs}, lookahead {of['lookahead']}; every count and byte as "
        f"its exact model has it: {'yes' if of['exact'] else 'NO'}",
        "KV blocks that windows need": f"{of['visits']:,}, for {of['jobs']:,} jobs",
        "of these": f"{of['hits']:,} hits; {of['misses']:,} misses, {of['bypasses']:,} of them "
        f"bypasses; {of['evictions']:,} evictions",
    }
    for tier, has in of["tiers"].items():
        if has["slots"]:
            rows[f"{tier} tier"] = (
                f"{has['hits']:,} hits, {has['fills']:,} fills, {has['evictions']:,} evictions"
            )
    if of["hot"] + of["cold"]:
        rows["block pairs held, over time"] = _held(of)
    for name, word in (
        ("bytes", "fetched"),
        ("bytes_no_cache", "without cache"),
        ("bytes_lru", "with LRU"),
        ("bytes_belady", "at least (Belady)"),
    ):
        demand = of["demand"][name]
        rows[f"bytes of KV blocks, {word}"] = (
            f"{of[name]:,}; {demand:.3g} a cycle at full mac_utilization, "
            f"{demand * report['clock_mhz'] / 1000:.3g} GB/s"
        )
    return rows
