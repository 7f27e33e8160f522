"""The table and the lines that a terminal shows of a synthesis."""

from collections.abc import Iterator, Mapping, Sequence

from . import Synthesis
from .timing import MAX_CARRY_BITS, MAX_FAN_OUT, MAX_LUTS, Path, Timing

__all__ = ["describe", "tabulate"]

_HEADERS = {"bram36": "BRAM", "cells": "cells", "area": "area"}

_KINDS = {
    "registers": "between registers",
    "inputs": "from an input to a register",
    "outputs": "from a register to an output",
    "through": "from an input to an output",
}


def tabulate(synthesis: Synthesis) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a row for each block, the total, and what it means."""
    columns = synthesis.columns
    headers = ["", "n", *(_HEADERS.get(name, name.upper()) for name in columns)]

    def row(title: str, n: str, values: Mapping[str, float], form: str = "") -> list[str]:
        cells = (_spell(values[name], form) if name in values else "-" for name in columns)
        return [title, n, *cells]

    rows = []
    for block in synthesis.blocks:
        indent = "  " * block.depth
        rows.append(row(indent + block.name, f"{block.n:,}" if block.module else "", block.counts))
        if (theirs := synthesis.vivado_of(block)) is not None:
            rows.append(row(f"{indent}| Vivado", "", theirs))
    rows.append(row("total", "", synthesis.total))
    if synthesis.vivado is not None:
        total, said = synthesis.total, synthesis.vivado.total
        rows.append(row("| Vivado", "", said))
        ratios = {name: said[name] / total[name] for name in said if total.get(name)}
        rows.append(row("| Vivado / Yosys", "", ratios, ".2f"))
    if (per_mac := synthesis.per_mac) is not None:
        rows.append(row(f"per MAC, of {synthesis.macs:,}", "", per_mac, ".2f"))
    for title, shares in (
        ("share of the U280", synthesis.share_of_card),
        ("share of the user's part", synthesis.share_of_user),
    ):
        if shares is not None:
            rows.append(row(title, "", shares, ".2%"))
    return headers, rows


def describe(synthesis: Synthesis) -> Iterator[str]:
    """Yield the lines below the table."""
    yield (
        f"{synthesis.name} for {synthesis.target}, Yosys {synthesis.yosys}, "
        f"{synthesis.seconds:.1f} s"
    )
    yield from synthesis.notes
    if synthesis.timing is not None:
        yield from _describe_timing(synthesis.timing)


def _describe_timing(timing: Timing) -> Iterator[str]:
    yield "timing proxy, without placement: no clock frequency follows from it"
    for kind, title in _KINDS.items():
        if kind in timing.paths:
            path = timing.paths[kind]
            verdict = ""
            if kind == "registers":  # the others go on in the surroundings
                verdict = f" (rule: at most {MAX_LUTS} and {MAX_CARRY_BITS})"
                verdict += "" if path.is_short else " BROKEN"
            yield f"  longest path {title}: {_length(path)}{verdict}"
            if path.names:
                yield f"    {' > '.join(path.names)}"
    mark = "" if timing.fan_out <= MAX_FAN_OUT else " BROKEN"
    rule = f"rule: at most {MAX_FAN_OUT}"
    yield f"  largest fan-out behind logic: {timing.fan_out} pins ({rule}){mark}"
    yield f"    {timing.fan_out_net}"
    yield (
        f"  largest fan-out of a register: {timing.register_fan_out} pins (no rule: registers are "
        f"easily doubled); the reset has {timing.reset_fan_out}"
    )
    yield f"    {timing.register_fan_out_net}"
    yield f"  largest fan-out of an input: {timing.input_fan_out} pins, {timing.input_fan_out_net}"
    for kind, n in sorted(timing.dsp_registers.items()):
        mark = " BROKEN" if " 0" in kind else ""
        yield f"  registers of {n:,} DSPs: {kind} (rule: one where data pass){mark}"


def _length(path: Path) -> str:
    parts: Sequence[tuple[int, str]] = (
        (path.luts, "LUT"),
        (path.carry_bits, "carry bit"),
        (path.dsps, "unregistered DSP"),
    )
    return ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in parts if n) or "a wire"


def _spell(value: float, form: str) -> str:
    if form:
        return f"{value:{form}}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
