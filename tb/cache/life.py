"""What was held when: occupancy of the tiers, and how long each block stayed."""

from dataclasses import dataclass

import numpy as np

from .replay import HIT, Replay
from .visits import Integers

__all__ = ["Stay", "occupancy", "stays_of"]


@dataclass(frozen=True)
class Stay:
    """A block in a slot.

    Members
    -------
    slot, block : int
        Which is where.
    first, end : int
        The visit that brings it, and the one that finds it gone; of one that is held at the end
        of the list, the number of visits.
    hits : int
        Visits that found it.
    evicted : bool
        Whether another block took its place; else it left with its last job.
    """

    slot: int
    block: int
    first: int
    end: int
    hits: int
    evicted: bool


def stays_of(made: Replay) -> list[Stay]:
    """Return all stays, in the order in which they begin."""
    visits, n = made.visits, len(made.visits)
    last = np.full(len(visits.uses), n)
    last[visits.block] = np.arange(n)  # of equal places the last one counts
    in_slot: dict[int, tuple[int, int, int]] = {}  # block, first visit, hits
    stays = []

    def leave(slot: int, at: int, evicted: bool) -> None:
        block, first, hits = in_slot.pop(slot)
        stays.append(Stay(slot, block, first, at, hits, evicted))

    rows = zip(*(x.tolist() for x in (made.kind, made.slot, made.victim)), strict=True)
    for number, (kind, slot, victim) in enumerate(rows):
        if slot < 0:
            continue
        if kind == HIT:
            block, first, hits = in_slot[slot]
            in_slot[slot] = block, first, hits + 1
            continue
        if victim >= 0:
            leave(slot, number, True)
        elif slot in in_slot:  # free: it left when its last visit was retired
            leave(slot, _retired(made, int(last[in_slot[slot][0]])), False)
        in_slot[slot] = int(visits.block[number]), number, 0
    for slot in list(in_slot):
        leave(slot, _retired(made, int(last[in_slot[slot][0]])), False)
    return sorted(stays, key=lambda stay: stay.first)


def occupancy(stays: list[Stay], made: Replay) -> tuple[Integers, Integers]:
    """Return how many slots of the hot and of the cold tier hold a block, behind each visit."""
    n = len(made.visits)
    changes = np.zeros((2, n + 1), np.int32)
    for stay in stays:
        tier = int(stay.slot >= made.rules.hot)
        changes[tier, stay.first] += 1
        changes[tier, stay.end] -= 1
    hot, cold = changes.cumsum(axis=1, dtype=np.int32)[:, :n]
    return hot, cold


def _retired(made: Replay, visit: int) -> int:
    """Return the visit that comes when this one is retired, or the number of all."""
    return min(visit + made.rules.lookahead, len(made.visits))
