"""Exact model of the cache: what becomes of each visit, and why.

Decisions depend on the order of visits alone, never on time: a visit is retired when so many later
ones have come as the lookahead says, and the hardware waits until its rows have left by then.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from .faults import NoJobsError, TooFewUsesError, TooManyUsesError, UnknownBlockError
from .rules import CacheRules

__all__ = ["BYPASS", "Decision", "ExactCache"]


@dataclass(frozen=True)
class Decision:
    """What becomes of a visit.

    Members
    -------
    slot : int or None
        Where the block is; ``None``: bypassed, it is kept nowhere.
    hit : bool
        Whether it was there before; else it is fetched.
    victim : int or None
        The block that leaves the slot for it.
    """

    slot: int | None
    hit: bool = False
    victim: int | None = None


BYPASS = Decision(None)


@dataclass
class _Slot:
    """A slot: free, or with a block."""

    block: int | None = None
    pins: int = 0
    next: int = 0
    age: int = 0


class ExactCache:
    """A cache that is told visits one by one.

    Parameters
    ----------
    rules : CacheRules
        What it decides by.
    uses : iterable of int
        All jobs of each block.

    Members
    -------
    left : list of int
        Jobs of each block that have not been granted.
    """

    def __init__(self, rules: CacheRules, uses: Iterable[int]) -> None:
        self.rules = rules
        self.left = list(uses)
        self._slots = [_Slot() for _ in range(rules.slots)]
        self._place: dict[int, int] = {}  # of the blocks that are held
        self._granted: deque[int | None] = deque()  # slots of visits that are not retired
        self._count = 0

    @property
    def held(self) -> dict[int, int]:
        """The slot of each block that is held."""
        return dict(self._place)

    def visit(self, block: int, jobs: int, window: int, distance: int | None) -> Decision:
        """Decide what becomes of the next visit.

        Parameters
        ----------
        block : int
            Its block.
        jobs : int
            Pairs of the window that need it.
        window : int
            Number of the window.
        distance : int or None
            Windows until the block is needed again, if that is known.

        Raises
        ------
        JobListError
            When there is no such block, no job, or fewer jobs are left than come.
        """
        if len(self._granted) == self.rules.lookahead:
            self._retire()
        if not 0 <= block < len(self.left):
            raise UnknownBlockError(block, len(self.left))
        if jobs < 1:
            raise NoJobsError(block, jobs)
        if self.left[block] < jobs:
            raise TooFewUsesError(block, self.left[block], jobs)
        is_hot = self.left[block] > self.rules.threshold
        self.left[block] -= jobs
        horizon = self.rules.horizon
        known = distance is not None and (horizon is None or distance <= horizon)
        if known and distance is not None:
            following = window + distance
        else:
            following = window + (horizon or 0) + 1  # far, or never
        decision = self._decide(block, following, is_hot)
        if decision.slot is not None:
            slot = self._slots[decision.slot]
            slot.block, slot.next, slot.age = block, following, self._count
            slot.pins += 1
            self._place[block] = decision.slot
        self._granted.append(decision.slot)
        self._count += 1
        return decision

    def end(self) -> None:
        """Retire all visits.

        Raises
        ------
        JobListError
            When a block has jobs left.
        """
        while self._granted:
            self._retire()
        for block, left in enumerate(self.left):
            if left:
                raise TooManyUsesError(block, left)

    def _retire(self) -> None:
        """Let go of the oldest visit; a slot whose block has no job left is free."""
        number = self._granted.popleft()
        if number is None:
            return
        slot = self._slots[number]
        slot.pins -= 1
        if not slot.pins and slot.block is not None and not self.left[slot.block]:
            del self._place[slot.block]
            slot.block = None

    def _decide(self, block: int, following: int, is_hot: bool) -> Decision:
        if block in self._place:
            return Decision(self._place[block], hit=True)
        if self.rules.policy == "none":
            return BYPASS
        free = self._lowest_free(is_hot)
        if free is not None:
            return Decision(free)
        if self.rules.policy == "liveness":
            return BYPASS
        evictable = [slot for slot in self._slots if not slot.pins]
        if not evictable:
            return BYPASS
        if self.rules.policy == "lru":
            victim = min(evictable, key=lambda slot: slot.age)
        else:
            victim = max(evictable, key=_urgency)
            if not self.left[block] or (following, block) >= _urgency(victim):
                return BYPASS
        assert victim.block is not None  # what is free would have been taken
        leaving = victim.block
        return Decision(self._place.pop(leaving), victim=leaving)

    def _lowest_free(self, is_hot: bool) -> int | None:
        """Return the slot for a block that is hot or not, if one is free."""
        hot, cold = range(self.rules.hot), range(self.rules.hot, self.rules.slots)
        tiers = [hot, cold] if is_hot else [cold, hot]
        if self.rules.policy == "liveness" and not is_hot:
            tiers = [cold]
        free = (n for tier in tiers for n in tier if self._slots[n].block is None)
        return next(free, None)


def _urgency(slot: _Slot) -> tuple[int, int]:
    """Return when a slot's block comes again; of equal windows, the order is that of blocks."""
    assert slot.block is not None
    return slot.next, slot.block
