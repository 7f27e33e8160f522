"""How well each choice of KV blocks recalls, and from how many of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rtl.index.numerics import IndexNumerics
from ..attention import Bools
from ..errors import InputError
from ..quantize import quantize
from .coverage import coverage
from .exact import CoverageRule, exact_coverage
from .flexprefill import flexprefill
from .forecast import KERNEL, compress_keys, forecast_from
from .pool import Reals
from .recall import Attend, Induction, Recall, dense_attend, recall
from .window import window

__all__ = ["METHODS", "MethodRow", "compare_methods"]

_RULE = CoverageRule()

METHODS = ("dense", "window", "coverage", "flexprefill", "forecast")

_BLOCK = 2 * KERNEL
"""Tokens of a block that a forecast selects."""


@dataclass(frozen=True)
class MethodRow:
    """What one method made of the questions.

    Members
    -------
    method : str
        One of ``METHODS``; forecasts with their noise, ``forecast oracle``, ``forecast 10 dB``.
    accuracy : float
        Share of questions answered.
    density : float
        KV blocks that the questions' queries attend to, of those that causal attention has.
    found : float
        Share of questions, per head, for which the block with the answer was among them.
    keys : float
        Keys that a question is compared with, in the mean, whole blocks.
    chosen : bool array (heads, query blocks, KV blocks), optional
        Pairs of blocks of the whole context, of methods that choose for blocks of queries.
    """

    method: str
    accuracy: float
    density: float
    found: float
    keys: float
    chosen: Bools | None = field(default=None, compare=False, repr=False)


def compare_methods(
    tokens: int,
    *,
    methods: Iterable[str] = METHODS,
    snrs: Iterable[float | None] = (None, 10.0, 0.0),
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 64,
    block: int = 128,
    questions: int = 256,
    sources: int = 16,
    subject: float = 0.1,
    rule: CoverageRule = _RULE,
    numerics: IndexNumerics | None = None,
    window_tokens: int = 2048,
    top_k: int = 96,
    seed: int = 0,
    attend: Attend = dense_attend,
    tell: Callable[[str], None] = lambda method: None,
) -> list[MethodRow]:
    """Let each method answer the same questions, in the second layer of an induction head.

    ``dense``, ``window``, ``coverage`` and ``flexprefill`` choose blocks for blocks of queries, as
    prefill does; ``forecast`` chooses blocks of 64 tokens for one query after the other, as decode
    does, and attention is given the keys of these blocks alone.

    Parameters
    ----------
    tokens : int
        Of the context; whole blocks.
    methods : iterable of str
        Some of ``METHODS``.
    snrs : iterable of float or None
        Noise of forecasts; a row for each (:meth:`.Induction.forecasts`).
    heads, kv_heads, head_dim, subject
        Of the layers (:class:`.Induction`).
    block, questions, sources
        Of the text (:func:`.recall`).
    rule : CoverageRule
        Of ``coverage`` and ``flexprefill``.
    numerics : IndexNumerics, optional
        Numbers of a coverage unit: ``coverage`` chooses with its bits. In float64 when absent.
    window_tokens : int
        Latest tokens, beside the first block and the query's own, that ``window`` and ``forecast``
        always take.
    top_k : int
        Most blocks of a forecast.
    seed : int
        Of everything random.
    attend : callable
        What computes attention.
    tell : callable
        Is told each method as it begins.

    Raises
    ------
    InputError
        When there is no such method, or numbers do not go together.
    """
    methods = list(methods)
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"methods must be of {', '.join(METHODS)}, not {unknown[0]!r}")
    task = recall(tokens, questions=questions, sources=sources, block=block, seed=seed)
    layers = Induction(
        task,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        subject=subject,
        attend=attend,
        seed=seed,
    )
    rows = []
    for method in methods:
        tell(method)
        if method == "forecast":
            local = window_tokens // _BLOCK
            rows += _by_forecasts(layers, list(snrs), top_k, local, seed, attend)
        else:
            chosen = _choose(method, layers, rule, numerics, window_tokens)
            rows.append(_by_blocks(method, layers, chosen, attend))
    return rows


def _choose(
    method: str,
    layers: Induction,
    rule: CoverageRule,
    numerics: IndexNumerics | None,
    window_tokens: int,
) -> Bools:
    """Return pairs of blocks (heads, query blocks, KV blocks)."""
    block, n = layers.task.block, len(layers.task.tokens) // layers.task.block
    if method in ("dense", "window"):
        whole = window(n, local=n if method == "dense" else window_tokens // block)
        return np.broadcast_to(whole, (len(layers.q), n, n))
    if method == "coverage" and numerics is not None:
        operands = quantize(layers.q, layers.k, layers.k, numerics.lane)
        of = operands.q, operands.k, operands.mantissa, operands.shift, numerics, rule
        return np.stack([head.verdict.mask for head in exact_coverage(*of)])
    # No more than there is: with less than its least budget FlexPrefill is dense.
    given = {**vars(rule), "min_budget": min(rule.min_budget, n * block)}
    by: Any = coverage if method == "coverage" else flexprefill
    return np.stack([head.mask for head in by(layers.q, layers.k, block=block, **given)])


def _by_blocks(method: str, layers: Induction, chosen: Bools, attend: Attend) -> MethodRow:
    """Answer all questions at once, each block of them from its blocks."""
    task = layers.task
    first = int(task.questions[0])
    mask = chosen[:, first // task.block :]
    given = {} if method == "dense" else {"block_mask": mask, "block": task.block}
    out = attend(layers.q[:, first:], layers.k, layers.v, q_start=first, **given)
    seen = np.arange(first // task.block, mask.shape[2]) + 1.0  # KV blocks that are not later
    blocks = mask.sum(axis=2)
    row = (task.questions - first) // task.block
    return MethodRow(
        method,
        layers.accuracy(out),
        float((blocks / seen).mean()),
        float(mask[:, row, _sources(task) // task.block].mean()),
        float(blocks.mean()) * task.block,
        chosen,
    )


def _by_forecasts(
    layers: Induction,
    snrs: list[float | None],
    top_k: int,
    local: int,
    seed: int,
    attend: Attend,
) -> list[MethodRow]:
    """Answer one question after the other, each from its own blocks: once for each noise."""
    task, group = layers.task, layers.group
    vectors = [layers.forecasts(snr, seed).astype(float) for snr in snrs]
    out = np.zeros((len(snrs), len(layers.q), len(task.questions), layers.q.shape[2]))
    taken: list[list[NDArray[np.intp]]] = [[] for _ in snrs]
    for kv_head, (k, v) in enumerate(zip(layers.k, layers.v, strict=True)):
        compressed = compress_keys(k.astype(float))
        in_blocks = [_in_blocks(x.astype(float)) for x in (k, v)]
        heads = slice(kv_head * group, (kv_head + 1) * group)
        for index, position in enumerate(task.questions):
            answers: dict[bytes, Any] = {}  # other noise may choose the same
            for number, foretold in enumerate(vectors):
                chosen = forecast_from(
                    foretold[kv_head, index], compressed, position, top_k=top_k, init=1, local=local
                )
                taken[number].append(chosen)
                if (key := chosen.tobytes()) not in answers:
                    # The last one is the query's own, and what is behind it there is not seen.
                    n = (len(chosen) - 1) * _BLOCK + position % _BLOCK + 1
                    keys, values = (x[chosen].reshape(1, -1, x.shape[2])[:, :n] for x in in_blocks)
                    query = layers.q[heads, position, None]
                    answers[key] = attend(query, keys, values, q_start=n - 1)[:, 0]
                out[number, heads, index] = answers[key]
    return [_forecast_row(layers, snr, *of) for snr, *of in zip(snrs, out, taken, strict=True)]


def _forecast_row(
    layers: Induction, snr: float | None, out: Any, taken: list[NDArray[np.intp]]
) -> MethodRow:
    """Say what came of a forecast: ``taken`` of each question, one KV head after the other."""
    task = layers.task
    seen = np.tile(task.questions // _BLOCK + 1, len(layers.k))
    sources = np.tile(_sources(task) // _BLOCK, len(layers.k))
    blocks = np.array([len(chosen) for chosen in taken])
    found = [source in chosen for source, chosen in zip(sources, taken, strict=True)]
    return MethodRow(
        f"forecast {'oracle' if snr is None else f'{snr:g} dB'}",
        layers.accuracy(out),
        float((blocks / seen).mean()),
        float(np.mean(found)),
        float(blocks.mean()) * _BLOCK,
    )


def _in_blocks(x: Reals) -> Reals:
    """Return (tokens, head_dim) as (blocks, tokens of one, head_dim), filled up with zeros."""
    return np.pad(x, ((0, -len(x) % _BLOCK), (0, 0))).reshape(-1, _BLOCK, x.shape[1])


def _sources(task: Recall) -> Any:
    """Return where each answer stands: behind the key, whose number counts pairs."""
    return 2 * (task.tokens[task.questions] - task.n_values) + 1
