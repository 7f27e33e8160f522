"""How well each choice of KV blocks recalls, and from how many of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attention import Bools
from ..errors import InputError
from .coverage import coverage
from .flexprefill import flexprefill
from .forecast import KERNEL, compress_keys, forecast_from
from .recall import Attend, Induction, Recall, dense_attend, recall
from .window import window

__all__ = ["METHODS", "MethodRow", "compare_methods"]

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
    """

    method: str
    accuracy: float
    density: float
    found: float
    keys: float


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
    gamma: float = 0.9,
    min_budget: int = 1024,
    window_tokens: int = 2048,
    top_k: int = 96,
    seed: int = 0,
    attend: Attend = dense_attend,
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
    gamma, min_budget
        Of ``coverage`` and ``flexprefill``.
    window_tokens : int
        Latest tokens, beside the first block and the query's own, that ``window`` and ``forecast``
        always take.
    top_k : int
        Most blocks of a forecast.
    seed : int
        Of everything random.
    attend : callable
        What computes attention.

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
        if method == "forecast":
            local = window_tokens // _BLOCK
            rows += [_by_forecast(layers, snr, top_k, local, seed, attend) for snr in snrs]
        else:
            chosen = _choose(method, layers, gamma, min_budget, window_tokens)
            rows.append(_by_blocks(method, layers, chosen, attend))
    return rows


def _choose(
    method: str, layers: Induction, gamma: float, min_budget: int, window_tokens: int
) -> Bools:
    """Return pairs of blocks (heads, query blocks, KV blocks)."""
    block, n = layers.task.block, len(layers.task.tokens) // layers.task.block
    if method in ("dense", "window"):
        whole = window(n, local=n if method == "dense" else window_tokens // block)
        return np.broadcast_to(whole, (len(layers.q), n, n))
    rule: Any = coverage if method == "coverage" else flexprefill
    budget = min(min_budget, n * block)
    found = rule(layers.q, layers.k, block=block, gamma=gamma, min_budget=budget)
    return np.stack([head.mask for head in found])


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
    )


def _by_forecast(
    layers: Induction, snr: float | None, top_k: int, local: int, seed: int, attend: Attend
) -> MethodRow:
    """Answer one question after the other, each from its own blocks."""
    task, group = layers.task, layers.group
    vectors = layers.forecasts(snr, seed).astype(float)
    out = np.zeros((len(layers.q), len(task.questions), layers.q.shape[2]))
    blocks, found, density = [], [], []
    for kv_head, (k, v) in enumerate(zip(layers.k, layers.v, strict=True)):
        compressed = compress_keys(k.astype(float))
        heads = slice(kv_head * group, (kv_head + 1) * group)
        for index, position in enumerate(task.questions):
            taken = forecast_from(
                vectors[kv_head, index], compressed, position, top_k=top_k, init=1, local=local
            )
            keys = (taken[:, None] * _BLOCK + np.arange(_BLOCK)).reshape(-1)
            keys = keys[keys <= position]
            query = layers.q[heads, position, None]
            out[heads, index] = attend(query, k[None, keys], v[None, keys], q_start=len(keys) - 1)[
                :, 0
            ]
            blocks.append(len(taken))
            density.append(len(taken) / (position // _BLOCK + 1))
            found.append(_sources(task)[index] // _BLOCK in taken)
    noise = "oracle" if snr is None else f"{snr:g} dB"
    return MethodRow(
        f"forecast {noise}",
        layers.accuracy(out),
        float(np.mean(density)),
        float(np.mean(found)),
        float(np.mean(blocks)) * _BLOCK,
    )


def _sources(task: Recall) -> Any:
    """Return where each answer stands: behind the key, whose number counts pairs."""
    return 2 * (task.tokens[task.questions] - task.n_values) + 1
