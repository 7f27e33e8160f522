"""What an engine is: a design that advances under a plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..monitor import Violation
from ..packing import Words

__all__ = ["Cycles", "Simulation", "Transfers"]

Cycles = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Transfers:
    """What moved over one stream.

    Members
    -------
    words : uint32 array (n, words)
        Payloads.
    cycles : uint64 array (n,)
        When each one moved.
    first_valid : int or None
        Cycle in which the stream was valid for the first time; outputs only.
    """

    words: Words
    cycles: Cycles
    first_valid: int | None = None


class Simulation(Protocol):
    """A running simulation of a design under a plan; close it after use.

    Members
    -------
    cycle : int
        Cycles since the last reset.
    n_awaited : int
        Streams of which payloads are still awaited.
    """

    @property
    def cycle(self) -> int: ...  # noqa: D102

    @property
    def n_awaited(self) -> int: ...  # noqa: D102

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles; all streams begin again."""

    def advance(self, cycles: int, *, to_end: bool = True) -> None:
        """Run so many cycles, or until nothing is awaited any more if ``to_end``."""

    def counts(self) -> Sequence[int]:
        """Return how many payloads have moved since the last reset, by channel of the plan."""

    def transfers(self) -> Sequence[Transfers]:
        """Return what moved since the last reset, by channel of the plan."""

    def violations(self) -> Sequence[Violation]:
        """Return what broke the rules since the last reset: the first of it, if it is much."""

    def close(self) -> None:
        """Free what the simulation holds, and complete its waves."""
