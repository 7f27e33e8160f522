"""Blocks of keys that each block of queries attends to: chosen, and held against float64."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...rtl.index.forecast import Forecast
from ...tb.attention import Bools, Floats
from ...tb.design import Design
from ...tb.engines import ENGINES, Result, find_difference, run
from ...tb.index.compress import compress_exactly
from ...tb.index.coverage import coverage
from ...tb.index.disagree import Disagreement, disagreements
from ...tb.index.flexprefill import flexprefill
from ...tb.index.forecast import KERNEL, STRIDE, compress_keys, forecast_from, foretell
from ...tb.index.forecast_exact import Query
from ...tb.index.forecast_stream import forecast_program
from ...tb.index.head import Verdict
from ...tb.index.report import Choice, HeadRow, attention_map, head_row
from ...tb.index.window import window
from ...tb.quantize import Int8s, Operands, quantize, quantize_heads
from ...tb.tensors import InputError, as_tensors
from ..call import check_fits
from ..chip import ChipDescription
from ..emit import emit
from ..mistakes import suggestion
from ..progress import Progress
from .hardware import run_index

__all__ = ["FORECAST_BLOCK", "METHODS", "Index", "index", "variant_of"]

METHODS = ("coverage", "forecast", "window", "dense")

FORECAST_BLOCK = 64
"""Tokens of a block that a forecast chooses."""


@dataclass(frozen=True, eq=False)
class Index:
    """What came of an index.

    Members
    -------
    heads : tuple of HeadRow
        What is to be said of each head, batch included.
    selection : bool array (heads, query blocks, KV blocks)
        The pairs of blocks, with batch in front if the tensors have it; as ``block_mask`` of
        :meth:`qkloom.Chip.simulate` takes it if ``report["block"]`` is the chip's.
    attended : array (heads, query blocks, KV blocks)
        Where heads attend, in float64: the mean of each query block's rows.
    report : dict
        Figures: ``chip method engine bit_exact block tokens ... heads``. ``engine`` is what ran,
        ``none`` no hardware at all: then cycles and bytes are 0, and ``bit_exact`` is None.
    """

    heads: tuple[HeadRow, ...]
    selection: Bools
    attended: Floats
    report: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Found:
    """What a method chose, what it does in float64, and what the hardware took, head by head."""

    choice: Choice
    reference: Sequence[Bools]
    block: int
    engine: str
    cycles: Sequence[int]
    k_bytes: Sequence[int]
    disagreements: Sequence[tuple[Disagreement, ...]] | None = None
    sharing: int = 1
    """Heads that cycles and bytes belong to together."""
    bit_exact: bool | None = None
    """Whether hardware did what its exact model does; None if none ran."""


def index(
    description: ChipDescription,
    q: Any,
    k: Any,
    *,
    snr: float | None = None,
    seed: int = 0,
    first_head: int = 0,
    engine: str = "cxxrtl",
    progress: Progress | None = None,
    **changes: Any,
) -> Index:
    """Choose blocks of keys; parameters as of :meth:`qkloom.Chip.index`."""
    if engine not in ENGINES:
        raise InputError(
            f"Engine must be one of {', '.join(ENGINES)}, not {engine!r}"
            f"{suggestion(str(engine), ENGINES)}"
        )
    if snr is not None and not math.isfinite(snr):
        raise InputError(f"snr must be a finite number of dB, not {snr}; leave it out for none")
    description = variant_of(description, changes)
    tell = progress or (lambda step, share: None)
    operands, batch = _operands(description, q, k)
    method = description.index.method
    tell(f"choosing by {method}", None)
    if method == "coverage":
        found = _by_coverage(description, operands, engine, tell)
    elif method == "forecast":
        found = _by_forecast(description, operands, snr, seed, engine, tell)
    else:
        found = _by_place(description, operands)
    attended, heads = _rows(description, operands, found, first_head, tell)
    masks = found.choice.masks
    rule = description.resolved().get("index", description.index.model_dump(exclude_none=True))
    report = {
        "chip": description.name,
        "engine": found.engine,
        "bit_exact": found.bit_exact,
        "block": found.block,
        "kv_heads": operands.shape.kv_heads,
        "head_dim": operands.shape.head_dim,
        **rule,
        **({"snr": snr, "seed": seed} if method == "forecast" else {}),
        "tokens": operands.shape.n_kv,
        "density": float(np.mean([row.density for row in heads])),
        "covered_mass": float(np.mean([row.covered_mass for row in heads])),
        "cycles": sum(row.cycles for row in heads[:: found.sharing]),
        "k_bytes": sum(row.k_bytes for row in heads[:: found.sharing]),
        "heads": [asdict(row) for row in heads],
    }
    return Index(heads, masks.reshape(*batch, -1, *masks.shape[1:]), attended, report)


def variant_of(description: ChipDescription, changes: Mapping[str, Any]) -> ChipDescription:
    """Return a chip of which some keys of ``index`` are other ones; None leaves a key as it is."""
    given = {name: value for name, value in changes.items() if value is not None}
    table = description.index.model_dump(exclude_none=True)
    return description.replace(index={**table, **given}) if given else description


def _operands(description: ChipDescription, q: Any, k: Any) -> tuple[Operands, tuple[int, ...]]:
    """Return quantized queries and keys (heads, tokens, head_dim), and the axes in front of them.

    Batches become heads.
    """
    q, k, _ = as_tensors(q, k, k)
    most = description.index.tokens or description.tokens
    check_fits(description, "head_dim (last axis)", q.shape[-1], description.head_dim)
    check_fits(description, "tokens to select from (axis before the last)", k.shape[-2], most)
    if q.shape[-2] != k.shape[-2]:
        raise InputError(
            f"q and k must have as many tokens, since all are selected for, not {q.shape[-2]} and "
            f"{k.shape[-2]}; cut the longer one"
        )
    queries, keys = (x.reshape(-1, *x.shape[-2:]) for x in (q, k))
    try:
        return quantize(queries, keys, keys, description.numerics), q.shape[:-3]
    except ValueError as error:
        raise InputError(str(error)) from error


def _rows(
    description: ChipDescription, operands: Operands, found: _Found, first_head: int, tell: Progress
) -> tuple[Floats, tuple[HeadRow, ...]]:
    """Hold what was found against float64, on the numbers that the integers stand for."""
    q, k, _ = operands.floats()
    heads, tokens = len(q), q.shape[1]
    rule, group = vars(description.coverage_rule), heads // len(k)
    attended, rows = [], []
    for head in range(heads):
        tell("comparing with float64", head / heads)
        keys = k[head // group]
        (exact,) = flexprefill(q[head, None], keys[None], block=found.block, **rule)
        attended.append(attention_map(q[head], keys, found.block))
        rows.append(
            head_row(
                head,
                found.choice,
                attended[-1],
                tokens=tokens,
                block=found.block,
                reference=found.reference[head],
                exact=exact.mask,
                cycles=found.cycles[head],
                k_bytes=found.k_bytes[head],
            )
        )
    listed = found.disagreements or heads * [None]
    return np.stack(attended), tuple(
        replace(row, head=first_head + row.head, disagreements=of)
        for row, of in zip(rows, listed, strict=True)
    )


def _by_place(description: ChipDescription, operands: Operands) -> _Found:
    """Choose all blocks, or the first and the latest ones, whatever is in them: no hardware."""
    heads, tokens, _ = operands.q.shape
    n, of = -(-tokens // description.block), description.index
    local = n if of.method == "dense" else of.local_blocks
    masks = np.repeat(window(n, init=of.init_blocks, local=local)[None], heads, axis=0)
    choice = Choice(masks, heads * [of.method], heads * [("single",) if n == 1 else ()])
    return _Found(choice, list(masks), description.block, "none", heads * [0], heads * [0])


def _by_coverage(
    description: ChipDescription, operands: Operands, engine: str, tell: Progress
) -> _Found:
    rule = description.coverage_rule
    selecting, selected = run_index(description, operands, rule, engine, tell)
    verdicts = [head.verdict for head in selecting.expected]
    q, k, _ = operands.floats()
    reference = coverage(q, k, block=description.block, **vars(rule))
    group = len(q) // len(k)
    choice = Choice(
        selected.masks,
        ["query-aware" if head.is_aware else "vertical-slash" for head in selected.heads],
        [
            _flags(verdict, operands.q[head, -description.block :], operands.k[head // group])
            for head, verdict in enumerate(verdicts)
        ],
    )
    return _Found(
        choice,
        [head.mask for head in reference],
        description.block,
        engine,
        selected.head_cycles,
        selected.k_bytes(group),
        [
            disagreements(verdict, head, rule.tau)
            for verdict, head in zip(verdicts, reference, strict=True)
        ],
        bit_exact=selected.bit_exact,
    )


def _flags(verdict: Verdict, queries: Int8s, keys: Int8s) -> tuple[str, ...]:
    """Return what is to be said of a head: one block only; scores or masses that are all equal."""
    is_flat = (
        not queries.any()
        or bool((keys == keys[0]).all())
        or verdict.columns.flat
        or verdict.diagonals.flat
    )
    is_single = len(verdict.columns.taken) == 1
    return ("flat",) * is_flat + ("single",) * is_single


def _by_forecast(
    description: ChipDescription,
    operands: Operands,
    snr: float | None,
    seed: int,
    engine: str,
    tell: Progress,
) -> _Found:
    """Let the Forecast unit choose: for each KV head, of the last query of each query block."""
    block, of = FORECAST_BLOCK, description.index
    heads, tokens, _ = operands.q.shape
    kv_heads, n = len(operands.k), -(-tokens // block)
    q, k, _ = operands.floats()
    last = np.minimum(block * np.arange(1, n + 1), tokens) - 1
    vectors, scale = quantize_heads(foretell(q[:, last], kv_heads, snr, seed).astype(float))
    unit, design = _forecast_unit(
        of.top_k,
        max(-(-(of.tokens or description.tokens) // block), of.top_k),
        description.head_dim,
        math.gcd(description.head_dim, description.data_width // 8),
        engine == "verilator",
    )
    width = unit.parameters["width"]
    always: dict[str, Any] = {"init": of.init_blocks, "local": of.local_blocks}
    queries, reference = [], np.zeros((kv_heads, n, n), bool)
    for head in range(kv_heads):
        compressed = _padded(compress_exactly(operands.k[head]), width)
        exact = compress_keys(k[head])
        for row, position in enumerate(last):
            there = max((int(position) + 1 - KERNEL) // STRIDE + 1, 0)
            vector = _padded(vectors[head, row, None], width)[0]
            queries.append(Query(vector, compressed[:there], int(position), of.top_k, **always))
            foretold = vectors[head, row] * scale[head]
            chosen = forecast_from(foretold, exact[:there], position, top_k=of.top_k, **always)
            reference[head, row, chosen] = True
    program = forecast_program(unit, queries)
    result = run(
        design, program, engine, progress=lambda cycle, share: tell(f"{cycle:,} cycles", share)
    )
    masks, flags, cycles = _answers(result, kv_heads, n)
    n_bytes = [
        sum(query.keys.size for query in queries[i : i + n]) for i in range(0, kv_heads * n, n)
    ]
    kv_head = np.arange(heads) // (heads // kv_heads)
    return _Found(
        Choice(masks[kv_head], heads * ["top-k"], [flags[i] for i in kv_head]),
        list(reference[kv_head]),
        block,
        engine,
        [cycles[i] for i in kv_head],
        [n_bytes[i] for i in kv_head],
        sharing=heads // kv_heads,
        bit_exact=find_difference(design, program, result) is None,
    )


@functools.lru_cache(maxsize=4)
def _forecast_unit(
    k_max: int, blocks: int, head_dim: int, width: int, verilog: bool
) -> tuple[Forecast, Design]:
    """Emit a unit once for any number of runs; it has no primitives of a target."""
    unit = Forecast(k_max=k_max, blocks=blocks, head_dim=head_dim, width=width)
    return unit, emit(unit, name="forecast", verilog=verilog)


def _padded(x: Any, width: int) -> Any:
    """Fill vectors up to whole beats with zeros, which add nothing to any sum."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % width)))


def _answers(
    result: Result, kv_heads: int, n: int
) -> tuple[Bools, list[tuple[str, ...]], list[int]]:
    """Return what the hardware chose, what it says of each head's last query, and its cycles."""
    chosen, flags = result.unpacked("chosen"), result.unpacked("result")
    ends = chosen["end"] == 1
    query = np.cumsum(ends) - ends
    masks = np.zeros((kv_heads * n, n), bool)
    masks[query[~ends], chosen["block"][~ends]] = True
    last = n * np.arange(1, kv_heads + 1) - 1
    said = [tuple(name for name in sorted(flags) if flags[name][i]) for i in last]
    done = result.transfers["chosen"][ends][last].astype(np.int64) + 1
    return masks.reshape(kv_heads, n, n), said, np.diff(done, prepend=0).tolist()
