"""Testbenches as data: what goes into each stream, what comes out, and when each one stalls.

A testbench is independent of the engine that runs it. In every cycle, cycle 0 being the first one
after reset, an engine

1. drives: an input that has items left offers the next one unless its pattern stalls; an item once
   offered stays until it is taken. An output is ready unless its pattern stalls.
2. lets the design settle and samples it. An item moves where ``valid`` and ``ready`` are 1.
3. lets the clock rise.

The run ends with the cycle in which the last item that it waits for has moved. The payload of an
input that offers nothing is the complement of its next item, so that a design that looks at it
gives a wrong answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from numpy.typing import ArrayLike

from .packing import Words, pack, unpack
from .stalls import FREE, HELD, Stall

__all__ = [
    "FREE",
    "HELD",
    "Expectation",
    "Stall",
    "Stimulus",
    "Testbench",
    "Words",
    "pack",
    "unpack",
]


@dataclass(frozen=True, eq=False)
class Stimulus:
    """What an input stream receives.

    Parameters
    ----------
    values : array
        The payloads, one after the other: rows of words as :func:`pack` makes them, or one integer
        each.
    stall : Stall
        When the stream does not offer its next item.
    """

    values: ArrayLike
    stall: Stall = FREE


@dataclass(frozen=True, eq=False)
class Expectation:
    """What an output stream must deliver.

    Parameters
    ----------
    values : array, optional
        The payloads, as of :class:`Stimulus`; not compared unless given.
    stall : Stall
        When the stream is not taken from.
    count : int, optional
        Payloads to wait for, if ``values`` are not given. With neither, the run does not wait for
        this stream, and takes whatever comes.
    """

    values: ArrayLike | None = None
    stall: Stall = FREE
    count: int | None = None

    def __post_init__(self) -> None:
        if self.values is not None and self.count is not None:
            raise ValueError("An expectation has values or a count of them, not both")
        if self.count is not None and self.count < 0:
            raise ValueError(f"Count must not be negative, and is {self.count}")


@dataclass(frozen=True, eq=False)
class Testbench:
    """Streams in, streams out, and a limit.

    Parameters
    ----------
    inputs, outputs : mapping
        By stream name, as in ``Design.ports`` without the last part; a stream in an array is
        ``i__0``. An input that is not listed offers nothing. An output that is not listed is
        always ready, and the run does not wait for it.
    max_cycles : int
        A run that takes longer has failed.
    levels : mapping
        Values of input ports that belong to no stream; 0 unless listed.
    reset_cycles : int
        Cycles of reset before cycle 0.
    aborted_cycles : int
        Before all that, run so many cycles of the same testbench, then reset, and begin again. A
        design that its reset does not clear then answers differently.
    quiet_cycles : int
        Cycles to run on after the end, in which an output that delivers more than was waited for
        gives itself away.
    """

    __test__: ClassVar[bool] = False  # pytest: this is no collection of tests

    inputs: Mapping[str, Stimulus]
    outputs: Mapping[str, Expectation]
    max_cycles: int
    levels: Mapping[str, int] = field(default_factory=dict)
    reset_cycles: int = 1
    aborted_cycles: int = 0
    quiet_cycles: int = 16

    def __post_init__(self) -> None:
        for name in ("max_cycles", "reset_cycles", "aborted_cycles", "quiet_cycles"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")
        if self.aborted_cycles and not self.reset_cycles:
            raise ValueError("Only a reset can follow aborted cycles; reset_cycles is 0")
