"""An index in words: a table of heads, and what is to be known of it."""

from collections.abc import Mapping
from typing import Any

from .choose import Index
from .recall import Comparison

__all__ = ["describe", "describe_recall", "tabulate", "tabulate_recall", "title"]


def title(report: Mapping[str, Any]) -> str:
    """Return a line on what chose, and from what."""
    return (
        f"{report['chip']}, {report['method']}: {report['tokens']:,} tokens "
        f"in blocks of {report['block']}"
    )


def tabulate(found: Index) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a head each."""
    headers = ["head", "pattern", "blocks", "covered mass", "jaccard", "jaccard exact", "density"]
    rows = [
        [
            str(row.head),
            row.pattern,
            f"{row.blocks:,}",
            f"{row.covered_mass:.1%}",
            f"{row.jaccard:.3f}",
            f"{row.jaccard_exact:.3f}",
            f"{row.density:.1%}",
            f"{row.cycles:,}",
            f"{row.k_bytes:,}",
            ", ".join(row.flags),
        ]
        for row in found.heads
    ]
    return [*headers, "cycles", "bytes of keys", "flags"], rows


def describe(found: Index) -> list[str]:
    """Return lines to stand below the table."""
    report = found.report
    method = report["method"]
    share = f"{report['density']:.1%} of the visible pairs, {report['covered_mass']:.1%} of the"
    lines = [f"{title(report)}; in the mean {share} attention"]
    if report["engine"] == "none":
        lines.append("chosen whatever queries and keys are: no hardware, no cycles, no bytes")
    else:
        who, keys = {
            "coverage": ("a call of the kernel", "keys"),
            "forecast": ("the Forecast unit", "compressed keys, which heads of a KV group share"),
        }[method]
        lines.append(
            f"chosen by {who} on {report['engine']}, bit exact: "
            f"{'yes' if report['bit_exact'] else 'NO'}; {report['cycles']:,} cycles, "
            f"{report['k_bytes']:,} bytes of {keys}"
        )
    if method == "forecast":
        noise = "no noise: an oracle" if report["snr"] is None else f"noise at {report['snr']:g} dB"
        lines.append(f"forecasts are a KV group's mean queries, nothing is trained; {noise}")
    if method == "coverage" and report["min_budget"] >= report["tokens"] and report["gamma"] < 1:
        lines.append(
            f"min_budget, {report['min_budget']:,} tokens, keeps all of these heads; "
            "choose a smaller one"
        )
    listed = [(row, one) for row in found.heads for one in row.disagreements or ()]
    if listed:
        row, one = max(listed, key=lambda pair: pair[1].margin)
        place = "" if one.place is None else f" {one.place}"
        apart = len({row.head for row, _ in listed})
        lines.append(
            f"hardware and float64 disagree about {len(listed)} columns, diagonals, pairs or "
            f"patterns, in {apart} of {len(found.heads)} heads; {one.margin:.1e} of the attention "
            f"decides at most ({one.kind}{place} of head {row.head})"
        )
    lines.append("jaccard: with the same rule in float64; exact: with FlexPrefill token by token")
    return lines


def tabulate_recall(made: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a method and a context each."""
    headers = ["tokens", "method", "accuracy", "density", "cycles", "of them to choose"]
    rows = [
        [
            f"{row.tokens:,}",
            row.method,
            f"{row.accuracy:.1%}",
            f"{row.density:.1%}",
            f"{row.cycles:,}",
            f"{row.index_cycles:,}",
        ]
        for row in made.rows
    ]
    return headers, rows


def describe_recall(made: Comparison) -> list[str]:
    """Return lines to stand below the table."""
    report = made.report
    heads = f"{report['heads']} heads, {report['kv_heads']} of keys, of {report['head_dim']}"
    return [
        f"questions at the end of made-up contexts; {heads}, in blocks of {report['block']}",
        "density: blocks that the questions' queries attend to, of those that causal attention has",
        f"cycles: of the whole context on {report['chip']}, counted by MAC slots, not measured",
        "coverage: with the bits of its hardware",
        "forecasts: a KV group's mean queries (oracle), or these and noise; nothing is trained",
    ]
