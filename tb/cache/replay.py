"""What a cache makes of a whole list of visits: the decisions of the exact model, fast."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .exact import Decision, ExactCache
from .faults import EmptyListError
from .native import native_library, replay_native
from .rules import CacheRules
from .visits import Integers, Visits

__all__ = ["HIT", "Counts", "Replay", "Tiers", "replay", "replay_exact"]

HIT, FILL, BYPASS = range(3)

_SMALL = 1000
"""Visits that the exact model is as quick with as a compiled library is found."""


@dataclass(frozen=True)
class Tiers:
    """A number of each tier."""

    hot: int
    cold: int

    @property
    def total(self) -> int:
        """Both."""
        return self.hot + self.cold


@dataclass(frozen=True)
class Counts:
    """What hardware counts.

    Members
    -------
    visits, jobs : int
        Visits, and jobs that they serve.
    hits, fills, evictions : Tiers
        Visits whose block was there; those whose block was fetched and kept; of these, in place of
        another one.
    misses, bypasses : int
        Visits whose block was fetched; those of them whose block was not kept.
    job_hits : int
        Jobs of the visits that were hits.
    """

    visits: int
    jobs: int
    hits: Tiers
    fills: Tiers
    evictions: Tiers
    misses: int
    bypasses: int
    job_hits: int


@dataclass(frozen=True, eq=False)
class Replay:
    """A list of visits, and what became of each.

    Members
    -------
    rules : CacheRules
        Whose decisions these are.
    visits : Visits
        The list.
    kind : int array (visits,)
        ``HIT``, ``FILL`` or ``BYPASS``.
    slot, victim : int arrays (visits,)
        The block's slot, and the block that left it; -1: none.
    """

    rules: CacheRules
    visits: Visits
    kind: NDArray[np.uint8]
    slot: Integers
    victim: Integers

    @property
    def fetched(self) -> NDArray[np.bool_]:
        """Which visits are misses."""
        fetched: NDArray[np.bool_] = self.kind != HIT
        return fetched

    def decision(self, number: int) -> Decision:
        """Return what the exact model says of a visit."""
        slot, victim = int(self.slot[number]), int(self.victim[number])
        return Decision(
            None if slot < 0 else slot,
            hit=bool(self.kind[number] == HIT),
            victim=None if victim < 0 else victim,
        )

    def counts(self) -> Counts:
        """Return what hardware counts."""
        hit = self.kind == HIT
        return Counts(
            visits=len(self.visits),
            jobs=self.visits.n_jobs,
            hits=self._by_tier(hit),
            fills=self._by_tier(self.kind == FILL),
            evictions=self._by_tier(self.victim >= 0),
            misses=int((~hit).sum()),
            bypasses=int((self.kind == BYPASS).sum()),
            job_hits=int(self.visits.jobs[hit].sum()),
        )

    def _by_tier(self, chosen: NDArray[np.bool_]) -> Tiers:
        hot = int((chosen & (self.slot < self.rules.hot)).sum())
        return Tiers(hot, int(chosen.sum()) - hot)


def replay(rules: CacheRules, visits: Visits) -> Replay:
    """Replay a list of visits.

    200,000 jobs of one KV head take about 10 ms. Where there is no compiler, the exact model
    is asked: seconds.

    Raises
    ------
    JobListError
        When the list is empty, or jobs are not what was announced for their blocks.
    """
    if not len(visits):
        raise EmptyListError
    if len(visits) <= _SMALL or not _is_right(visits):
        return replay_exact(rules, visits)
    library = native_library()
    if library is None:
        return replay_exact(rules, visits)
    return Replay(rules, visits, *replay_native(library, rules, visits))


def replay_exact(rules: CacheRules, visits: Visits) -> Replay:
    """Replay a list of visits by the exact model; as :func:`replay`."""
    if not len(visits):
        raise EmptyListError
    cache = ExactCache(rules, visits.uses.tolist())
    columns = (visits.block, visits.jobs, visits.window, visits.distance)
    made = [
        cache.visit(block, jobs, window, distance or None)
        for block, jobs, window, distance in zip(*(c.tolist() for c in columns), strict=True)
    ]
    cache.end()
    return Replay(
        rules,
        visits,
        np.array([HIT if d.hit else BYPASS if d.slot is None else FILL for d in made], np.uint8),
        np.array([-1 if d.slot is None else d.slot for d in made], np.int32),
        np.array([-1 if d.victim is None else d.victim for d in made], np.int32),
    )


def _is_right(visits: Visits) -> bool:
    """Tell whether each block has the jobs that were announced; the model says what is wrong."""
    n = len(visits.uses)
    if visits.block.min() < 0 or visits.block.max() >= n or visits.jobs.min() < 1:
        return False
    counted = np.bincount(visits.block, weights=visits.jobs, minlength=n)
    return bool((counted == visits.uses).all())
