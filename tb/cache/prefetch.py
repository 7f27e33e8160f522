"""Exact model of :mod:`qkloom.rtl.cache.prefetch`: loads of two layers, cycle by cycle."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Cycle", "LoadItem", "LoadOrderModel", "Surroundings"]


@dataclass(frozen=True)
class LoadItem:
    """An item of a list of loads; see :func:`~qkloom.rtl.cache.place.place_layout`."""

    head: int = 0
    block: int = 0
    slot: int = 0
    end: int = 0
    last: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What a cycle brings.

    Members
    -------
    i : sequence of two
        What each input is offered, or None.
    takes : bool
        A load is taken, if there is one.
    arrived : bool or None
        A load is over, and whether it failed; None if nobody says so.
    starts : bool
        A layer that is ready is taken.
    """

    i: Sequence[LoadItem | None]
    takes: bool
    arrived: bool | None
    starts: bool


@dataclass(frozen=True)
class Cycle:
    """What the unit does in a cycle.

    Members
    -------
    taken : pair of bool
        Whether the item that each input is offered is taken.
    load : pair or None
        The load that is offered, and its side.
    has_arrived : bool
        An arrival is taken.
    ready : pair or None
        The side of the layer that may run, and whether a load of it failed.
    """

    taken: tuple[bool, bool]
    load: tuple[LoadItem, int] | None
    has_arrived: bool
    ready: tuple[int, bool] | None


class LoadOrderModel:
    """The order of loads.

    Parameters
    ----------
    in_flight : int
        As of the unit.
    """

    def __init__(self, *, in_flight: int) -> None:
        self.in_flight = in_flight
        self.turn = 0
        self.load: tuple[LoadItem, int] | None = None
        self.sides: deque[int] = deque()  # of loads offered or under way, in their order
        self.is_closed = [False, False]
        self.failed = [False, False]

    def cycle(self, given: Surroundings) -> Cycle:
        """Return what happens in a cycle, and go on to the next one."""
        wants = [
            item is not None and not item.end and not closed
            for item, closed in zip(given.i, self.is_closed, strict=True)
        ]
        side = self.turn if wants[self.turn] else 1 - self.turn
        moves = (self.load is None or given.takes) and len(self.sides) < self.in_flight
        taken = [
            item is not None and not closed and bool(item.end or (moves and side == k))
            for k, (item, closed) in enumerate(zip(given.i, self.is_closed, strict=True))
        ]
        begun = len(self.sides) - (self.load is not None)
        has_arrived = given.arrived is not None and begun > 0
        ready = None
        if self.is_closed[self.turn] and self.turn not in self.sides:
            ready = self.turn, self.failed[self.turn]
        found = Cycle((taken[0], taken[1]), self.load, has_arrived, ready)

        if has_arrived:
            self.failed[self.sides.popleft()] |= bool(given.arrived)
        if given.takes:
            self.load = None
        item = given.i[side]
        if moves and wants[side] and item is not None:
            self.load = item, side
            self.sides.append(side)
        for k, of in enumerate(given.i):
            if taken[k] and of is not None and of.end and of.last:
                self.is_closed[k] = True
        if ready is not None and given.starts:
            self.is_closed[self.turn] = self.failed[self.turn] = False
            self.turn = 1 - self.turn
        return found
