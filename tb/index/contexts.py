"""Long contexts with planted structure: queries and keys for which the right answer is known.

A key is a sum of parts in directions of their own, turned by a random rotation for each KV head: a
*mark* of the tokens that every query attends to (sinks, verticals), a code of its place
(:mod:`.places`: distances, that is slashes and bands), a code of its block (needles), how popular
its block is, and noise. A query has the parts that it looks for. How much of each follows from the
share of attention that is asked for, whatever the number of keys that it competes with. Popularity
gives what is left over an order that rounding does not change.

Queries attend to all marks at once, but to one distance each, in a fixed pattern over the rows of
a block: codes of several places would blur one another. Marked keys have no place and no noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .parts import MARKS, Parts, Singles, Wish
from .planted import Planted

__all__ = ["Context", "families", "generate"]


@dataclass(frozen=True)
class Context:
    """Queries, keys, values, and what was planted.

    Members
    -------
    q : float32 array (heads, tokens, head_dim)
    k, v : float32 arrays (kv_heads, tokens, head_dim)
    planted : tuple of Planted
        Of each query head.
    """

    q: Singles
    k: Singles
    v: Singles
    planted: tuple[Planted, ...]


Family = Callable[[np.random.Generator, int, int], Wish]
"""What a head wishes for, of so many blocks of so many tokens."""


def families() -> dict[str, Family]:
    """Return the families by name; what each yields is for :func:`generate`."""
    return {
        "flat": lambda rng, n, block: Wish(),
        "sinks": lambda rng, n, block: Wish(sinks=_total(rng)),
        "verticals": lambda rng, n, block: Wish(verticals=_verticals(rng, 4, _total(rng))),
        "slashes": lambda rng, n, block: Wish(slashes=_slashes(rng, n, block, 4, _total(rng))),
        "bands": lambda rng, n, block: Wish(band=_total(rng)),
        "needles": lambda rng, n, block: Wish(needles=_total(rng)),
        "mixed": _mixed,
    }


def generate(
    family: str,
    tokens: int,
    *,
    heads: int = 2,
    kv_heads: int = 1,
    head_dim: int = 64,
    seed: int = 0,
    block: int = 128,
) -> Context:
    """Make a context of one family.

    Parameters
    ----------
    family : str
        One of :func:`families`.
    tokens : int
        At least 8 blocks.
    heads, kv_heads : int
        Query heads, and heads of keys, a divisor. Every head is different.
    head_dim : int
        At least 32. The more tokens, the longer must codes be: 64 do for 131,072 tokens, and 32 for
        512, of some families for more.
    seed : int
        Of everything random.
    block : int
        Tokens of a block.

    Raises
    ------
    InputError
        When there is no such family, or numbers do not go together.
    """
    known = families()
    if family not in known:
        raise InputError(f"family must be one of {', '.join(known)}, not {family!r}")
    if block < 1 or tokens < 8 * block:
        raise InputError(f"tokens must be at least 8 blocks of {block}, not {tokens}")
    if kv_heads < 1 or heads < 1 or heads % kv_heads:
        raise InputError(f"kv_heads must divide heads, {heads}, not be {kv_heads}")
    if head_dim < 32:
        raise InputError(f"head_dim must be at least 32, not {head_dim}")
    q = np.empty((heads, tokens, head_dim), np.float32)
    k = np.empty((kv_heads, tokens, head_dim), np.float32)
    v = np.empty_like(k)
    planted = []
    n, kind = -(-tokens // block), list(known).index(family)
    for kv_head in range(kv_heads):
        rng = np.random.default_rng([seed, kind, kv_head])
        parts = Parts(rng, family, tokens, block, head_dim)
        parts.write_keys(k[kv_head], rng)
        v[kv_head] = rng.standard_normal(v.shape[1:], np.float32)
        for member in range(heads // kv_heads):
            rng = np.random.default_rng([seed, kind, kv_head, 1 + member])
            wish = known[family](rng, n, block)
            head = q[kv_head * (heads // kv_heads) + member]
            planted.append(parts.write_queries(head, wish, rng))
    return Context(q, k, v, tuple(planted))


def _total(rng: np.random.Generator) -> float:
    """Return a share above the usual ``gamma``, 0.9, and by less than what any one part has."""
    return float(rng.uniform(0.93, 0.96))


def _split(rng: np.random.Generator, share: float, parts: int) -> list[float]:
    """Return shares that differ, none below half of the mean."""
    return [float(x) for x in share * (0.5 / parts + 0.5 * rng.dirichlet(np.full(parts, 4.0)))]


def _verticals(rng: np.random.Generator, count: int, share: float) -> dict[int, float]:
    chosen = 1 + rng.permutation(MARKS - 1)[:count]
    return dict(zip(map(int, chosen), _split(rng, share, count), strict=True))


def _slashes(
    rng: np.random.Generator, n: int, block: int, count: int, share: float
) -> dict[int, float]:
    """Return distances: one near, so that all queries have one, the others in blocks apart."""
    blocks = 1 + rng.permutation(n // 2)[: count - 1]
    far = blocks * block + rng.integers(0, block, count - 1)
    near = rng.integers(1, max(block // 16, 2))
    return dict(zip(map(int, [near, *far]), _split(rng, share, count), strict=True))


def _mixed(rng: np.random.Generator, n: int, block: int) -> Wish:
    sinks, band, verticals, slashes = _split(rng, _total(rng), 4)
    return Wish(sinks, _verticals(rng, 2, verticals), _slashes(rng, n, block, 2, slashes), band)
