"""A testbench laid out over the ports of one design: what every engine is handed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...rtl.component import Component
from ..design import Design
from ..packing import Words, n_words, to_words
from ..stalls import FREE, Stall
from ..streams import StreamPorts, streams_of
from ..testbench import Testbench

__all__ = ["Channel", "Plan", "make_plan"]


@dataclass(frozen=True, eq=False)
class Channel:
    """One stream of the design, and what the testbench does with it.

    Members
    -------
    ports : StreamPorts
        The stream.
    width : int
        Bits of a payload.
    stall : Stall
        When the testbench stalls it.
    words : uint32 array (n, words) or None
        Payloads: of an input, to send; of an output, to expect, if they are known.
    count : int or None
        How many payloads the run waits for; ``None`` if it does not wait.
    """

    ports: StreamPorts
    width: int
    stall: Stall
    words: Words | None
    count: int | None

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.ports.name

    @property
    def is_input(self) -> bool:
        """Whether the testbench sends."""
        return self.ports.is_input

    @property
    def n_words(self) -> int:
        """Words of a payload."""
        return n_words(self.width)


@dataclass(frozen=True, eq=False)
class Plan:
    """All streams of a design with their stimuli and expectations.

    Members
    -------
    design : Design
        What is simulated.
    channels : tuple of Channel
        Every stream of the design.
    levels : mapping
        Words of the input ports that belong to no stream, by port.
    """

    design: Design
    channels: tuple[Channel, ...]
    levels: Mapping[str, Words]


def make_plan(design: Design, testbench: Testbench) -> Plan:
    """Lay a testbench out over a design.

    Raises
    ------
    ValueError
        When the testbench names what the design does not have, or payloads do not fit.
    """
    component: Component = design.component
    streams = streams_of(component)
    for kind, named, is_input in (
        ("input", testbench.inputs, True),
        ("output", testbench.outputs, False),
    ):
        there = [s.name for s in streams if s.is_input == is_input]
        _check_names(design, f"{kind} stream", named, there)
    parts = {f"{s.name}__{part}" for s in streams for part in ("payload", "valid", "ready")}
    widths = {p.name: p.width for p in design.ports if p.is_input and p.name not in parts}
    _check_names(design, "input port outside its streams", testbench.levels, list(widths))
    levels = {
        name: _words([testbench.levels.get(name, 0)], width, name) for name, width in widths.items()
    }
    return Plan(design, tuple(_channel(s, testbench) for s in streams), levels)


def _channel(ports: StreamPorts, testbench: Testbench) -> Channel:
    width = 0 if ports.payload is None else len(ports.payload)
    if ports.is_input:
        stimulus = testbench.inputs.get(ports.name)
        words = _words([] if stimulus is None else stimulus.values, width, ports.name)
        stall = FREE if stimulus is None else stimulus.stall
        if ports.valid is None and stall != FREE:
            raise ValueError(f"{ports.name} is always valid and cannot stall")
        return Channel(ports, width, stall, words, len(words))
    expectation = testbench.outputs.get(ports.name)
    if expectation is None:
        return Channel(ports, width, FREE, None, None)
    if ports.ready is None and expectation.stall != FREE:
        raise ValueError(f"{ports.name} is always ready and cannot stall")
    if expectation.values is None:
        return Channel(ports, width, expectation.stall, None, expectation.count)
    words = _words(expectation.values, width, ports.name)
    return Channel(ports, width, expectation.stall, words, len(words))


def _words(values: Any, width: int, name: str) -> Words:
    try:
        return to_words(np.asarray(values), width)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_names(design: Design, what: str, named: Mapping[str, Any], there: list[str]) -> None:
    for name in named:
        if name not in there:
            known = ", ".join(there) or "none"
            raise ValueError(f"{design.name} has no {what} {name!r}; it has: {known}")
