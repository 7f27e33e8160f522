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
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..attention import Floats
from ..errors import InputError
from .places import Places, amplitude_for
from .planted import Planted

__all__ = ["Context", "families", "generate"]

Singles = NDArray[np.float32]

SINKS = 4
MARKS = 6
"""Directions of marks: sinks, and verticals one by one, so that heads of a group can differ."""

_CHUNK = 8192
"""Tokens made at a time."""

_NOISE, _FLAT, _POPULARITY = 0.1, 0.4, 0.3
"""Of each number of a query or key; of scores of flat heads; of a block's score."""


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


@dataclass(frozen=True)
class _Wish:
    """Shares of the attention of a head, and where they go; of all there is, ``total``."""

    sinks: float = 0.0
    verticals: dict[int, float] = field(default_factory=dict)  # by direction
    slashes: dict[int, float] = field(default_factory=dict)  # by distance
    band: float = 0.0
    needles: float = 0.0

    @property
    def placed(self) -> float:
        return sum(self.slashes.values()) + self.band

    @property
    def total(self) -> float:
        return self.sinks + sum(self.verticals.values()) + self.placed + self.needles


_Family = Callable[[np.random.Generator, int, int], _Wish]
"""What a head wishes for, of so many blocks of so many tokens."""


def families() -> dict[str, _Family]:
    """Return the families by name; what each yields is for :func:`generate`."""
    return {
        "flat": lambda rng, n, block: _Wish(),
        "sinks": lambda rng, n, block: _Wish(sinks=_total(rng)),
        "verticals": lambda rng, n, block: _Wish(verticals=_verticals(rng, 4, _total(rng))),
        "slashes": lambda rng, n, block: _Wish(slashes=_slashes(rng, n, block, 4, _total(rng))),
        "bands": lambda rng, n, block: _Wish(band=_total(rng)),
        "needles": lambda rng, n, block: _Wish(needles=_total(rng)),
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
        At least 32; the more tokens, the longer must codes be (64 do for 131,072 tokens).
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
        parts = _Parts(rng, family, tokens, block, head_dim)
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


def _mixed(rng: np.random.Generator, n: int, block: int) -> _Wish:
    sinks, band, verticals, slashes = _split(rng, _total(rng), 4)
    return _Wish(sinks, _verticals(rng, 2, verticals), _slashes(rng, n, block, 2, slashes), band)


class _Parts:
    """The directions of one KV head, and what keys have in them."""

    def __init__(
        self, rng: np.random.Generator, family: str, tokens: int, block: int, head_dim: int
    ) -> None:
        self.tokens, self.block, self.head_dim = tokens, block, head_dim
        self.n = n = -(-tokens // block)
        self.is_flat, self.is_marked = family == "flat", family in ("sinks", "verticals", "mixed")
        self.turn = np.linalg.qr(rng.standard_normal((head_dim, head_dim)))[0].astype(np.float32)
        columns = np.sort(1 + rng.permutation(n - 2)[: MARKS - 1])
        self.verticals = columns * block + rng.integers(0, block, MARKS - 1)
        popular = _POPULARITY * rng.standard_normal(n)
        self.popularity = popular - np.log(np.exp(popular).mean())
        free = head_dim - MARKS - 1
        self.width = int(rng.integers(3 * block // 4, 5 * block // 2))
        pairs = {"slashes": (free // 2, 0), "bands": (0, free // 2)}
        sharp, broad = pairs.get(family, (free // 3, free // 6) if family == "mixed" else (0, 0))
        self.sharp = Places.sharp(sharp, tokens, rng) if sharp else None
        # The hill exp(L product) is narrower than the product, by the root of L: about 3.
        self.broad = Places.broad(broad, tokens, 1.4 * self.width, rng) if broad else None
        self.codes = np.zeros((n, free if family == "needles" else 0))
        if self.codes.size:
            self.codes = rng.standard_normal(self.codes.shape)
            self.codes /= np.linalg.norm(self.codes, axis=1, keepdims=True)

    def write_keys(self, k: Singles, rng: np.random.Generator) -> None:
        """Write keys (tokens, head_dim)."""
        noise = 1.0 if self.is_flat else _NOISE
        for start in range(0, self.tokens, _CHUNK):
            place = np.arange(start, min(start + _CHUNK, self.tokens))
            block = place // self.block
            marks = np.zeros((len(place), MARKS), np.float32)
            if self.is_marked:
                marks[place < SINKS, 0] = 1
                for direction, token in enumerate(self.verticals, 1):
                    marks[place == token, direction] = 1
            parts = [marks, self.popularity[block, None], self.codes[block]]
            parts += [x.code(place) for x in (self.sharp, self.broad) if x is not None]
            keys = self._join(parts) * np.sqrt(np.float32(self.head_dim))
            keys += noise * rng.standard_normal(keys.shape, np.float32)
            if self.is_marked:
                marked = marks.any(axis=1)
                keys[marked] = 0
                keys[marked, :MARKS] = np.sqrt(np.float32(self.head_dim)) * marks[marked]
            k[place] = keys @ self.turn

    def write_queries(self, q: Singles, wish: _Wish, rng: np.random.Generator) -> Planted:
        """Write queries (tokens, head_dim) with what is wished for; return what that is."""
        planted = self._planted(wish)
        odds = wish.total / (1 - wish.total)
        picks, chances = [*wish.slashes, 0], [*wish.slashes.values(), wish.band]
        chosen = np.zeros(self.block, int)  # which of the distances, or the band, a row looks for
        if wish.placed:
            quantile = (np.arange(self.block) + 0.5) / self.block
            ends = np.cumsum(chances) / wish.placed
            chosen = rng.permutation(np.searchsorted(ends[:-1], quantile, side="right"))
        targets, heights = self._needles(wish, odds, rng)
        if wish.needles:
            needles = tuple((r, int(c)) for r, c in enumerate(targets))
            planted = replace(planted, needles=needles)
        placed_odds = wish.placed / (1 - wish.total)
        tables = [
            self._table(pick, placed_odds) if chance else None
            for pick, chance in zip(picks, chances, strict=True)
        ]
        for start in range(0, self.tokens, _CHUNK):
            place = np.arange(start, min(start + _CHUNK, self.tokens))
            block, row = place // self.block, chosen[place % self.block]
            height, others = np.zeros(len(place)), 1.0 + place
            for index, table in enumerate(tables):
                if table is not None:
                    mine = (row == index) & (place >= picks[index])
                    at, (heights_at, others_at) = table
                    wanted = (place[mine] - picks[index]) // self.block
                    height[mine] = np.interp(place[mine], at, heights_at) - self.popularity[wanted]
                    others[mine] = np.exp(np.interp(place[mine], at, np.log(others_at)))
            marks = np.zeros((len(place), MARKS))
            for direction, share in ({0: wish.sinks / SINKS} | wish.verticals).items():
                if share:
                    marks[:, direction] = np.log(share / (1 - wish.total) * others)
            ones = np.full((len(place), 1), 1.0)
            parts = [marks, ones, heights[block, None] * self.codes[targets[block]]]
            is_band = row == len(picks) - 1
            distance = np.array(picks)[row]
            if self.sharp is not None:
                parts.append((height * ~is_band)[:, None] * self.sharp.code(place - distance))
            if self.broad is not None:
                parts.append((height * is_band)[:, None] * self.broad.code(place))
            queries = self._join(parts)
            size = _FLAT if self.is_flat else _NOISE
            queries += size * rng.standard_normal(queries.shape, np.float32)
            q[place] = queries @ self.turn
        return planted

    def _planted(self, wish: _Wish) -> Planted:
        return Planted(
            self.tokens,
            self.block,
            wish.total,
            SINKS if wish.sinks else 0,
            tuple(sorted(int(self.verticals[d - 1]) for d in wish.verticals)),
            tuple(sorted(wish.slashes)),
            self.width if wish.band else 0,
        )

    def _table(self, distance: int, odds: float) -> tuple[Floats, tuple[Floats, Floats]]:
        """Return places, and for queries there what they must score, and what others weigh.

        Distance 0 stands for the band.
        """
        first = max(distance, 1)
        at = np.unique(np.geomspace(first, max(self.tokens, first + 1), 120).astype(int))
        if distance and self.sharp is not None:
            return at.astype(float), self.sharp.amplitude_at(at, distance, odds)
        assert self.broad is not None
        return at.astype(float), self.broad.amplitude_near(at, self.width, odds)

    def _needles(
        self, wish: _Wish, odds: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], Floats]:
        """Return the KV block that each query block looks for, and what it must score."""
        row = np.arange(self.n)
        targets = (rng.random(self.n) * row).astype(int)
        heights = np.zeros(self.n)
        if not wish.needles:
            return targets, heights
        tried = np.linspace(0, 40, 81)[:, None]
        # Rows differ, so that it is known which needles are beyond gamma, if any.
        odds_of = odds * np.exp(rng.uniform(-0.3, 0.3, self.n))
        for r in row[1:]:
            product = self.codes[: r + 1] @ self.codes[targets[r]]
            weights = np.exp(tried * product + self.popularity[: r + 1])
            weights[:, r] /= 2  # of its own block a query sees half, in the mean
            wanted = weights[:, [targets[r]]]
            others = np.delete(weights, targets[r], axis=1).sum(axis=1, keepdims=True)
            heights[r] = amplitude_for(np.log(wanted / others), others, odds_of[r])[0][0]
        return targets, heights

    def _join(self, parts: list[NDArray[np.floating]]) -> Singles:
        joined = np.concatenate(parts, axis=1).astype(np.float32)
        return np.pad(joined, ((0, 0), (0, self.head_dim - joined.shape[1])))
