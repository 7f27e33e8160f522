"""In-context recall: what token followed this one before? Answered by attention made by hand.

A context is pairs of a key token and a value token, no key twice; behind it stand questions, keys
once more. Two layers without a trained weight answer them (an *induction head*):

1. every token attends to the one before it (codes of places, :mod:`.places`), and so learns it;
2. a token's query is its own code, its key the code of the token before: so a question finds the
   value behind the same key. The output is nearest to the answer's code, in the whole vocabulary.

Codes are random and nearly orthogonal, others for each KV head. A text stays with its subject for a
while: key tokens of one stretch have a part of their codes in common. Heads of a group differ, each
adds a random part of its own to every query.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attention import attention
from ..errors import InputError
from .forecast import foretell
from .places import Places

__all__ = ["Attend", "Induction", "Recall", "dense_attend", "recall"]

Singles = NDArray[np.float32]
Tokens = NDArray[np.intp]

Attend = Callable[..., Any]
"""``attend(q, k, v, *, q_start, block_mask=None, block=None)``: causal attention of some queries,
the first of them at ``q_start`` among the keys; shapes as :func:`qkloom.tb.attention.attention`."""

dense_attend: Attend = partial(attention, causal=True)
"""In float64."""

_ODDS = 1000.0
"""Attention of the first layer to the token before, over that to all others it sees."""

_OWN = 0.3
"""Length of what a head adds of its own to queries, beside the token's code."""


@dataclass(frozen=True)
class Recall:
    """A context with questions at its end.

    Members
    -------
    tokens : int array
        Values are 0 to ``n_values - 1``, keys all above.
    n_values, n_keys : int
        Tokens of the vocabulary.
    stretch : int
        Pairs that have a subject in common.
    block : int
        Tokens of a block; questions are whole blocks.
    questions, answers : int arrays
        Positions among the tokens, and the values that are asked for.
    """

    tokens: Tokens
    n_values: int
    n_keys: int
    stretch: int
    block: int
    questions: Tokens
    answers: Tokens


def recall(
    tokens: int,
    *,
    questions: int = 256,
    sources: int = 16,
    n_values: int = 512,
    stretch: int = 32,
    block: int = 128,
    seed: int = 0,
) -> Recall:
    """Make a context with questions.

    Parameters
    ----------
    tokens : int
        Of the context, questions included: whole blocks.
    questions : int
        Of them the last ones: whole blocks.
    sources : int
        Blocks, or all if there are fewer, in which the keys that are asked for stand.
    n_values : int
        Different values.
    stretch : int
        Pairs that have a subject in common.
    block : int
        Tokens of a block, even.
    seed : int
        Of everything random.

    Raises
    ------
    InputError
        When numbers do not go together.
    """
    if block < 2 or block % 2 or tokens % block or questions % block:
        raise InputError(
            f"tokens and questions must be whole blocks of an even number of tokens, "
            f"not {tokens} and {questions} by {block}"
        )
    if not 0 < questions < tokens:
        raise InputError(f"questions must be 1 block or more of {tokens} tokens, not {questions}")
    if min(sources, n_values, stretch) < 1:
        raise InputError(
            f"sources, n_values and stretch must be at least 1, "
            f"not {sources}, {n_values} and {stretch}"
        )
    rng = np.random.default_rng([seed, tokens])
    pairs = (tokens - questions) // 2
    values = rng.integers(0, n_values, pairs)
    per_block = block // 2
    chosen = rng.permutation(pairs // per_block)[:sources]
    asked = (chosen[:, None] * per_block + np.arange(per_block)).reshape(-1)
    if len(asked) < questions:
        raise InputError(
            f"{len(chosen)} blocks must hold {questions} keys to ask for, not {len(asked)}; "
            "take more sources or fewer questions"
        )
    asked = rng.permutation(asked)[:questions]
    text = np.empty(tokens, np.intp)
    text[: 2 * pairs : 2] = n_values + np.arange(pairs)
    text[1 : 2 * pairs : 2] = values
    text[2 * pairs :] = n_values + asked
    positions = np.arange(2 * pairs, tokens)
    return Recall(text, n_values, pairs, stretch, block, positions, values[asked])


class Induction:
    """The two layers, for one text.

    Parameters
    ----------
    task : Recall
        The text.
    heads, kv_heads : int
        Query heads, and heads of keys, a divisor.
    head_dim : int
        Length of codes.
    subject : float
        Share of a key token's code that its stretch of text has in common, 0 to 1.
    attend : callable
        What computes attention.
    seed : int
        Of codes.

    Members
    -------
    q : float32 array (heads, tokens, head_dim)
    k, v : float32 arrays (kv_heads, tokens, head_dim)
        What the second layer's attention is given. Keys and values are the first layer's work;
        there each block is given itself and the block before, which hold all that is looked for.
    """

    def __init__(
        self,
        task: Recall,
        *,
        heads: int = 4,
        kv_heads: int = 2,
        head_dim: int = 64,
        subject: float = 0.1,
        attend: Attend = dense_attend,
        seed: int = 0,
    ) -> None:
        if kv_heads < 1 or heads < 1 or heads % kv_heads:
            raise InputError(f"kv_heads must divide heads, {heads}, not be {kv_heads}")
        if head_dim < 32:
            raise InputError(f"head_dim must be at least 32, not {head_dim}")
        if not 0 <= subject <= 1:
            raise InputError(f"subject must be 0 to 1, not {subject}")
        rng = np.random.default_rng(seed)
        self.task, self.group = task, heads // kv_heads
        self.codes = np.stack([_codes(task, head_dim, subject, rng) for _ in range(kv_heads)])
        self.v = self.codes[:, task.tokens]
        before = _tokens_before(self.v, task.block, attend, rng)
        self.k = math.sqrt(head_dim) * _normal(before)
        # Above all other keys together: a share of about 0.99 for the right one, of long codes.
        strength = np.float32(math.log(len(task.tokens)) + 6)
        self.q = np.empty((heads, *self.k.shape[1:]), np.float32)
        for head in range(heads):
            own = _normal(rng.standard_normal(self.codes.shape[1:], np.float32))
            codes = self.codes[head // self.group] + np.float32(_OWN) * own
            self.q[head] = strength * codes[task.tokens]

    def answers(self, outputs: Any) -> Tokens:
        """Return the tokens nearest to attention's outputs (heads, questions, head_dim)."""
        likeness = np.zeros((outputs.shape[1], self.codes.shape[1]), np.float32)
        for head, out in enumerate(np.asarray(outputs, np.float32)):
            likeness += out @ self.codes[head // self.group].T
        nearest: Tokens = likeness.argmax(axis=1)
        return nearest

    def accuracy(self, outputs: Any) -> float:
        """Return the share of questions that attention's outputs answer."""
        return float((self.answers(outputs) == self.task.answers).mean())

    def forecasts(self, snr: float | None = None, seed: int = 0) -> Singles:
        """Return what a layer before would foretell: vectors (kv_heads, questions, head_dim).

        See :func:`~qkloom.tb.index.forecast.foretell`.
        """
        return foretell(self.q[:, self.task.questions], len(self.k), snr, seed)


def _codes(task: Recall, head_dim: int, subject: float, rng: np.random.Generator) -> Singles:
    """Return a code of length 1 for each token of the vocabulary."""
    own = _normal(rng.standard_normal((task.n_values + task.n_keys, head_dim), np.float32))
    stretches = -(-task.n_keys // task.stretch)
    common = _normal(rng.standard_normal((stretches, head_dim), np.float32))
    keys = own[task.n_values :]
    keys *= np.float32(math.sqrt(1 - subject))
    keys += np.float32(math.sqrt(subject)) * common[np.arange(task.n_keys) // task.stretch]
    return _normal(own)


def _tokens_before(v: Singles, block: int, attend: Attend, rng: np.random.Generator) -> Singles:
    """Return the first layer's outputs: about the code of the token before each."""
    kv_heads, tokens, head_dim = v.shape
    places = Places.sharp(head_dim // 2, 2 * block, rng)
    (strength,), _ = places.amplitude_at(np.array([2 * block - 1]), 1, _ODDS)
    before = np.empty_like(v)
    for start in range(0, tokens, block):
        first, end = max(start - block, 0), min(start + block, tokens)
        k = math.sqrt(head_dim) * places.code(np.arange(first, end))
        q = np.float32(strength) * places.code(np.arange(start, end) - 1)
        q, k = (np.broadcast_to(x, (kv_heads, *x.shape)) for x in (q, k))
        before[:, start:end] = attend(q, k, v[:, first:end], q_start=start - first)
    return before


def _normal(x: Singles) -> Singles:
    """Return vectors of length 1."""
    normal: Singles = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return normal
