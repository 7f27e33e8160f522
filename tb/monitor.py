"""The rules of a stream, watched cycle by cycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from amaranth.hdl import Const

from .streams import streams_of

__all__ = ["RULES", "Rule", "StreamMonitor", "Violation", "add_monitors"]

Rule = Literal["withdrew an item", "changed an item"]

RULES: tuple[Rule, ...] = ("withdrew an item", "changed an item")
"""What a stream must not do between offering an item and its being taken."""


@dataclass(frozen=True)
class Violation:
    """A stream that broke a rule.

    Members
    -------
    stream : str
        Its name.
    rule : str
        One of :data:`RULES`.
    cycle : int
        When; the item was offered in the cycle before.
    """

    stream: str
    rule: Rule
    cycle: int

    def __str__(self) -> str:
        return f"{self.stream} {self.rule} that nobody had taken, in cycle {self.cycle}"


class StreamMonitor:
    """Watch one stream: what is offered stays until it is taken.

    Parameters
    ----------
    name : str
        Of the stream.

    Members
    -------
    violations : list of Violation
        Found so far.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: int | None = None
        self.violations: list[Violation] = []

    def observe(self, cycle: int, *, valid: int, ready: int, payload: int) -> None:
        """Take note of one cycle, as it is just before the clock rises."""
        if self._waiting is not None:
            if not valid:
                self.violations.append(Violation(self._name, RULES[0], cycle))
            elif payload != self._waiting:
                self.violations.append(Violation(self._name, RULES[1], cycle))
        self._waiting = payload if valid and not ready else None


def add_monitors(simulator: Any, component: Any) -> Sequence[StreamMonitor]:
    """Watch every output stream of a component in a simulation of the caller's own.

    Resets are not known here: a design that is reset while it offers an item seems to break a rule.

    Parameters
    ----------
    simulator : Simulator
        Amaranth's, with a clock for ``sync``.
    component : component
        What it simulates.

    Returns
    -------
    sequence of StreamMonitor
        Look at their ``violations`` at the end.
    """
    watched = [ports for ports in streams_of(component) if not ports.is_input]
    monitors = [StreamMonitor(ports.name) for ports in watched]
    signals = [
        Const(1) if signal is None else signal
        for ports in watched
        for signal in (ports.valid, ports.ready, ports.payload)
    ]

    async def watch(ctx: Any) -> None:
        cycle = 0
        async for _, _, *sampled in ctx.tick().sample(*signals):
            for monitor, valid, ready, payload in zip(
                monitors, sampled[::3], sampled[1::3], sampled[2::3], strict=True
            ):
                monitor.observe(cycle, valid=valid, ready=ready, payload=payload)
            cycle += 1

    simulator.add_testbench(watch, background=True)
    return monitors
