"""One pseudo-channel of HBM2: when its data bus carries what."""

from .counters import ChannelCounters
from .parameters import Timing

__all__ = ["ATOM_BITS", "Dram"]

ATOM_BITS = 5
"""Bits of an address within 32 bytes, the least that moves: 64 bits by a burst of 4 (JESD235)."""

ROW_BIT = 14
N_BANKS = 16


class Dram:
    """A data bus, and 16 banks with a row of 1 KB each; tb/engines/dram.h is the same in C++.

    Times are in units (:data:`~.parameters.UNITS`). Accesses are served in the order in which they
    come; a row may be opened while the accesses before it still occupy the bus.

    Parameters
    ----------
    timing : Timing
        How long everything takes.
    first_refresh : int
        When the first refresh is due; others follow at equal intervals.
    """

    def __init__(self, timing: Timing, first_refresh: int) -> None:
        self._timing = timing
        self._refresh_at = first_refresh
        self._bus_free = 0
        self._wrote = False
        self._rows: list[int | None] = [None] * N_BANKS
        self._used = [0] * N_BANKS
        self._activable = [0] * N_BANKS
        self._counts = dict.fromkeys(("reads", "writes", "hits", "opened", "conflicts"), 0)
        self._refreshes = 0

    @property
    def counters(self) -> ChannelCounters:
        """What was done so far."""
        busy = (self._counts["reads"] + self._counts["writes"]) * self._timing.atom
        return ChannelCounters(**self._counts, refreshes=self._refreshes, busy=busy)

    def access(self, offset: int, arrival: int, *, writes: bool) -> int:
        """Transfer an atom asked for at ``arrival``; return when the bus has carried it."""
        t = self._timing
        start = max(arrival, self._bus_free + (t.turnaround if writes != self._wrote else 0))
        while start >= self._refresh_at:
            end = self._refresh_at + t.refresh
            self._rows = [None] * N_BANKS
            self._activable = [end] * N_BANKS
            start = max(start, end)
            self._refresh_at += t.refresh_interval
            self._refreshes += 1
        # From the top: 14 bits of row, a bank group, 2 bits of bank, 5 of column, a bank group.
        bank = offset >> 10 & 14 | offset >> ATOM_BITS & 1
        row = offset >> ROW_BIT
        if self._rows[bank] == row:
            self._counts["hits"] += 1
        else:
            opens = max(arrival, self._activable[bank])
            if self._rows[bank] is None:
                self._counts["opened"] += 1
            else:
                opens = max(opens, self._used[bank]) + t.precharge
                self._counts["conflicts"] += 1
            self._rows[bank] = row
            self._activable[bank] = opens + t.row_cycle
            start = max(start, opens + t.activate)
        self._bus_free = self._used[bank] = start + t.atom
        self._wrote = writes
        self._counts["writes" if writes else "reads"] += 1
        return self._bus_free
