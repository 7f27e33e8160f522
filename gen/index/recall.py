"""What methods recall from long contexts, from how many blocks, and in how many cycles."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...rtl.index.numerics import IndexNumerics
from ...tb.exact import count_macs
from ...tb.index.methods import MethodRow, compare_methods
from ...tb.index.recall import recall
from ...tb.index.window import window
from ...tb.tensors import InputError, Shape
from ..call import check_fits
from ..chip import ChipDescription
from ..mistakes import suggestion
from ..progress import Progress
from .choose import FORECAST_BLOCK, METHODS, variant_of

__all__ = ["SNRS", "Comparison", "RecallRow", "compare_recall", "default_lengths"]

SNRS = (None, 10.0, 0.0)
"""Noise of forecasts, in dB: none, a little, as much as there is to foretell."""

_HEADS, _KV_HEADS, _HEAD_DIM, _QUESTIONS = 4, 2, 64, 256
_WINDOW = 2048
"""Latest tokens that a window and a forecast always take, as SparDA has it; of short contexts a
quarter."""


@dataclass(frozen=True)
class RecallRow:
    """What one method made of one context.

    Members
    -------
    tokens : int
        Of the context.
    method : str
        ``dense``, ``window``, ``coverage``, or ``forecast`` with its noise.
    accuracy, density, found, keys : float
        As of :class:`~qkloom.tb.index.methods.MethodRow`: of the questions.
    cycles : int
        Counted: MAC slots of causal attention of the whole context to what is chosen, over the MACs
        of the chip, and ``index_cycles``.
    index_cycles : int
        Counted, of them: scores of each head's last queries (``coverage``), or beats of the
        compressed keys that each block of queries is foretold from (``forecast``).
    """

    tokens: int
    method: str
    accuracy: float
    density: float
    found: float
    keys: float
    cycles: int
    index_cycles: int


@dataclass(frozen=True)
class Comparison:
    """What came of a task.

    Members
    -------
    rows : tuple of RecallRow
        Contexts in order, and in each the methods.
    report : dict
        The chip, what was asked for, and ``rows`` as dicts.
    """

    rows: tuple[RecallRow, ...]
    report: dict[str, Any]


def default_lengths(description: ChipDescription) -> list[int]:
    """Return 4,096 to 131,072 tokens, by doubling, as far as the chip goes; or what it has."""
    most = description.index.tokens or description.tokens
    usual = [length for length in (4096 << i for i in range(6)) if length <= most]
    return usual or [max(most // description.block, 1) * description.block]


def compare_recall(
    description: ChipDescription,
    *,
    method: str = "all",
    lengths: Sequence[int] | None = None,
    snrs: Sequence[float | None] = SNRS,
    progress: Progress | None = None,
    **changes: Any,
) -> Comparison:
    """Let methods answer questions about contexts of some lengths.

    Parameters
    ----------
    description : ChipDescription
        The chip: its blocks, its rule, its numbers, and what cycles are counted by.
    method : str
        One of them, or ``all``.
    lengths : sequence of int, optional
        Tokens of each context; :func:`default_lengths` when absent.
    snrs : sequence of float or None
        Noise of forecasts, in dB.
    progress : callable, optional
        Is told each step as it begins, with the share that is done.
    **changes
        Keys of the table ``index`` that are other than in the description.

    Raises
    ------
    InputError
        When there is no such method, or numbers do not go together.
    """
    known = ("all", *METHODS)
    if method not in known:
        raise InputError(
            f"method must be one of {', '.join(known)}, not {method!r}{suggestion(method, known)}"
        )
    methods = ("dense", "window", "coverage", "forecast") if method == "all" else (method,)
    for name in methods:  # whatever each of them asks of a chip
        description = variant_of(description, {**changes, "method": name})
    lengths = list(lengths or default_lengths(description))
    most = description.index.tokens or description.tokens
    questions = min(_QUESTIONS, 8 * description.block)
    for length in lengths:  # before the work
        check_fits(description, "tokens to select from", length, most)
        recall(length, questions=questions, block=description.block)
        always = _window(length) // FORECAST_BLOCK + 2
        if "forecast" in methods and description.index.top_k < always:
            raise InputError(
                f"top_k must be at least {always} for {length:,} tokens, of which the first block "
                f"and the latest {always - 1} are always taken, not {description.index.top_k}; "
                f"use {always} or more, or shorter contexts"
            )
    rows: list[RecallRow] = []

    def told(length: int, before: int, name: str) -> None:
        if progress is not None:
            share = before + length * methods.index(name) / len(methods)
            progress(f"{length:,} tokens, {name}", share / sum(lengths))

    for number, length in enumerate(lengths):
        for made in compare_methods(
            length,
            methods=methods,
            snrs=snrs,
            heads=_HEADS,
            kv_heads=_KV_HEADS,
            head_dim=_head_dim(description),
            block=description.block,
            questions=questions,
            rule=description.coverage_rule,
            numerics=IndexNumerics(lane=description.numerics, block=description.block, tokens=most),
            window_tokens=_window(length),
            top_k=description.index.top_k,
            tell=functools.partial(told, length, sum(lengths[:number])),
        ):
            rows.append(_row(description, length, made))
    report = {
        "chip": description.name,
        "task": "recall",
        "heads": _HEADS,
        "kv_heads": _KV_HEADS,
        "head_dim": _head_dim(description),
        "block": description.block,
        **vars(description.coverage_rule),
        "top_k": description.index.top_k,
        "cycles_are": "counted",
        "rows": [asdict(row) for row in rows],
    }
    return Comparison(tuple(rows), report)


def _row(description: ChipDescription, tokens: int, made: MethodRow) -> RecallRow:
    """Count the cycles, and put them beside what a method made of the questions."""
    macs = _macs(description)
    if made.chosen is None:
        cycles, index_cycles = _forecast_cycles(description, tokens)
    else:
        mask = None if made.method == "dense" else made.chosen
        slots = count_macs(
            _shape(description, tokens, _HEADS),
            description.numerics,
            block_rows=description.block,
            causal=True,
            block_mask=mask,
        ).slots
        scored = _HEADS * description.block * tokens * _head_dim(description)
        index_cycles = -(-scored // macs) if made.method == "coverage" else 0
        cycles = -(-slots // macs)
    return RecallRow(
        tokens,
        made.method,
        made.accuracy,
        made.density,
        made.found,
        made.keys,
        cycles + index_cycles,
        index_cycles,
    )


@functools.lru_cache(maxsize=16)
def _forecast_cycles(description: ChipDescription, tokens: int) -> tuple[int, int]:
    """Return cycles of attention and of foretelling: the same whichever blocks are chosen."""
    n = -(-tokens // FORECAST_BLOCK)
    slots = count_macs(
        _shape(description, tokens, 1),
        description.numerics,
        block_rows=FORECAST_BLOCK,
        causal=True,
        block_mask=window(n, init=0, local=description.index.top_k - 1),
    ).slots
    windows = sum(4 * row + 3 for row in range(n))  # complete ones, up to each block of queries
    n_bits = 8 * _KV_HEADS * windows * _head_dim(description)
    return -(-_HEADS * slots // _macs(description)), -(-n_bits // description.data_width)


def _window(tokens: int) -> int:
    return min(_WINDOW, tokens // 4)


def _macs(description: ChipDescription) -> int:
    """Return the MACs of a cycle, of all lanes."""
    return round(description.peak_tops * 1e6 / (2 * description.clock_mhz))


def _head_dim(description: ChipDescription) -> int:
    return min(_HEAD_DIM, description.head_dim)


def _shape(description: ChipDescription, tokens: int, heads: int) -> Shape:
    return Shape(1, heads, 1, tokens, tokens, _head_dim(description))
