"""What queries and keys of generated contexts are made of (:mod:`.contexts`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..attention import Floats
from .places import Places, amplitude_for
from .planted import Planted

__all__ = ["MARKS", "SINKS", "Parts", "Singles", "Wish"]

Singles = NDArray[np.float32]

_Table: TypeAlias = tuple[NDArray[np.intp], Floats, Floats]

SINKS = 4
MARKS = 6
"""Directions of marks: sinks, and verticals one by one, so that heads of a group can differ."""

_CHUNK = 8192
"""Tokens made at a time."""

_NOISE, _FLAT, _POPULARITY = 0.1, 0.4, 0.3
"""Of each number of a query or key; of scores of flat heads; of a block's score."""


@dataclass(frozen=True)
class Wish:
    """Shares of the attention of a head, and where they go.

    Members
    -------
    sinks, band, needles : float
        Of the first tokens, of all near ones, of one KV block for each query block.
    verticals : dict
        By direction, 1 and above: which of the marked tokens.
    slashes : dict
        By distance in tokens.
    """

    sinks: float = 0.0
    verticals: dict[int, float] = field(default_factory=dict)
    slashes: dict[int, float] = field(default_factory=dict)
    band: float = 0.0
    needles: float = 0.0

    @property
    def placed(self) -> float:
        """Share of what is at a distance."""
        return sum(self.slashes.values()) + self.band

    @property
    def total(self) -> float:
        """Share of everything; the rest goes to all other keys."""
        return self.sinks + sum(self.verticals.values()) + self.placed + self.needles


class Parts:
    """The directions of one KV head, and what keys have in them.

    Parameters
    ----------
    rng : Generator
        Of all that is random here.
    family : str
        Says which directions there are.
    tokens, block, head_dim : int
        Of the context.
    """

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
        self.width = int(rng.integers(3 * block // 4, 7 * block // 4))
        free = head_dim - MARKS - 1
        pairs = {
            "slashes": (free // 2, 0),
            "bands": (0, free // 2),
            "mixed": (free // 3, free // 6),
        }
        sharp, broad = pairs.get(family, (0, 0))
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

    def write_queries(self, q: Singles, wish: Wish, rng: np.random.Generator) -> Planted:
        """Write queries (tokens, head_dim) with what is wished for; return what that is."""
        distances = self._distances(wish, rng)
        tables = {d: self._table(d, wish) for d in set(distances.tolist())} if wish.placed else {}
        targets, heights = self._needles(wish, rng)
        noise = _FLAT if self.is_flat else _NOISE
        for start in range(0, self.tokens, _CHUNK):
            place = np.arange(start, min(start + _CHUNK, self.tokens))
            block, distance = place // self.block, distances[place % self.block]
            height, others = self._heights(place, distance, tables)
            marks = np.zeros((len(place), MARKS))
            for direction, share in ({0: wish.sinks / SINKS} | wish.verticals).items():
                if share:
                    marks[:, direction] = np.log(share / (1 - wish.total) * others)
            needles = heights[block, None] * self.codes[targets[block]]
            parts = [marks, np.ones((len(place), 1)), needles]
            if self.sharp is not None:
                code = self.sharp.code(place - distance)
                parts.append(np.where(distance > 0, height, 0)[:, None] * code)
            if self.broad is not None:
                code = self.broad.code(place)
                parts.append(np.where(distance == 0, height, 0)[:, None] * code)
            queries = self._join(parts)
            queries += noise * rng.standard_normal(queries.shape, np.float32)
            q[place] = queries @ self.turn
        return Planted(
            self.tokens,
            self.block,
            wish.total,
            SINKS if wish.sinks else 0,
            tuple(sorted(int(self.verticals[d - 1]) for d in wish.verticals)),
            tuple(sorted(wish.slashes)),
            self.width if wish.band else 0,
            tuple((r, int(c)) for r, c in enumerate(targets)) if wish.needles else (),
        )

    def _distances(self, wish: Wish, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return what each row of a block looks for: a distance, or 0, the band."""
        if not wish.placed:
            return np.zeros(self.block, np.intp)
        ends = np.cumsum([*wish.slashes.values(), wish.band]) / wish.placed
        quantile = (np.arange(self.block) + 0.5) / self.block
        which = np.searchsorted(ends[:-1], quantile, side="right")
        return rng.permutation(np.array([*wish.slashes, 0])[which])

    def _heights(
        self, place: NDArray[np.intp], distance: NDArray[np.intp], tables: dict[int, _Table]
    ) -> tuple[Floats, Floats]:
        """Return what queries must score where they look, and what all else weighs for them."""
        height: Floats = np.zeros(len(place))
        others: Floats = place + np.float64(1)
        for wanted, (at, height_at, others_at) in tables.items():
            mine = (distance == wanted) & (place >= wanted)
            liked = self.popularity[(place[mine] - wanted) // self.block]
            height[mine] = np.interp(place[mine], at, height_at) - liked
            others[mine] = np.exp(np.interp(place[mine], at, np.log(others_at)))
        return height, others

    def _table(self, distance: int, wish: Wish) -> _Table:
        """Return the same without popularity, for some places, which come first."""
        first, odds = max(distance, 1), wish.placed / (1 - wish.total)
        at = np.unique(np.geomspace(first, max(self.tokens, first + 1), 120).astype(int))
        if distance and self.sharp is not None:
            return at, *self.sharp.amplitude_at(at, distance, odds)
        assert self.broad is not None
        return at, *self.broad.amplitude_near(at, self.width, odds)

    def _needles(self, wish: Wish, rng: np.random.Generator) -> tuple[NDArray[np.intp], Floats]:
        """Return the KV block that each query block looks for, and what it must score."""
        row = np.arange(self.n)
        targets = (rng.random(self.n) * row).astype(int)
        heights = np.zeros(self.n)
        if not wish.needles:
            return targets, heights
        tried = np.linspace(0, 40, 81)[:, None]
        # Rows differ, so that it is known which needles are beyond gamma, if any.
        odds_of = wish.total / (1 - wish.total) * np.exp(rng.uniform(-0.3, 0.3, self.n))
        for r in row[1:]:
            product = self.codes[: r + 1] @ self.codes[targets[r]]
            weights = np.exp(tried * product + self.popularity[: r + 1])
            weights[:, r] /= 2  # of its own block a query sees half, in the mean
            wanted = weights[:, [targets[r]]]
            others = np.delete(weights, targets[r], axis=1).sum(axis=1, keepdims=True)
            heights[r] = amplitude_for(np.log(wanted / others), others, odds_of[r])[0][0]
        return targets, heights

    def _join(self, parts: Sequence[NDArray[np.floating]]) -> Singles:
        joined = np.concatenate(parts, axis=1).astype(np.float32)
        return np.pad(joined, ((0, 0), (0, self.head_dim - joined.shape[1])))
