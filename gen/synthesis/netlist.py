"""What synthesis makes of a module: ports, cells and names of nets."""

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...tb.errors import ToolError

__all__ = ["Bit", "Cell", "Module", "Netlist"]

Bit = int | str
"""A net of a module by its number, or a constant: ``0``, ``1``, ``x``, ``z``."""


@dataclass(frozen=True)
class Cell:
    """A cell: a primitive of the target, or another module.

    Members
    -------
    name, type : str
        What it is called, and what it is.
    pins : mapping
        Nets of each port, lowest bit first.
    outputs : frozenset of str
        Ports that drive.
    parameters : mapping
        As Yosys prints them: bits, or text.
    """

    name: str
    type: str
    pins: Mapping[str, list[Bit]]
    outputs: frozenset[str]
    parameters: Mapping[str, str]

    def parameter(self, name: str, default: int) -> int:
        """Return a parameter as a number."""
        value = self.parameters.get(name)
        return default if value is None else int(value, 2)


@dataclass(frozen=True)
class Module:
    """A synthesized module, its children left as they are.

    Members
    -------
    name : str
        What it is called.
    inputs, outputs : mapping
        Nets of each port, lowest bit first.
    cells : list of Cell
        What it is made of.
    net_names : mapping
        Names of nets; those that somebody chose are preferred to those that Yosys did.
    """

    name: str
    inputs: Mapping[str, list[Bit]]
    outputs: Mapping[str, list[Bit]]
    cells: list[Cell]
    net_names: Mapping[Bit, str]

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> "Module":
        """Read a module as :func:`reduced` leaves it."""
        ports = {way: {} for way in ("input", "output")}  # type: dict[str, dict[str, list[Bit]]]
        for port, (way, bits) in data["ports"].items():
            ports[way][port] = bits
        names: dict[Bit, str] = {}
        for net, hidden, bits in sorted(data["nets"], key=lambda net: (-net[1], -len(net[0]))):
            for index, bit in enumerate(bits):
                if not hidden or bit not in names:
                    names[bit] = f"{net}[{index}]" if len(bits) > 1 else net
        cells = [
            Cell(cell, kind, pins, frozenset(outputs), parameters)
            for cell, kind, pins, outputs, parameters in data["cells"]
        ]
        return cls(name, ports["input"], ports["output"], cells, names)


def reduced(name: str, data: Mapping[str, Any], *, known: Container[str], target: str) -> Any:
    """Return what is kept of a module as Yosys writes it, ready for JSON.

    Raises
    ------
    ToolError
        When it has a cell that is not ``known``, or Yosys writes modules in another way.
    """
    try:
        return _reduced(name, data, known, target)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolError(
            f"Yosys wrote no netlist of {name} that can be read ({type(error).__name__}: {error}): "
            "no count is given; use another version of Yosys"
        ) from error


def _reduced(name: str, data: Mapping[str, Any], known: Container[str], target: str) -> Any:
    cells = []
    for cell, facts in data["cells"].items():
        kind = facts["type"]
        if kind == "$scopeinfo":
            continue
        if kind not in known:
            raise ToolError(
                f"Synthesis for {target} left cell {kind} ({cell} in {name}), of which the target "
                "has none: no count is given; choose another target"
            )
        ways = facts.get("port_directions", {})
        outputs = [port for port, way in ways.items() if way != "input"]
        parameters = {
            key: value for key, value in facts["parameters"].items() if isinstance(value, str)
        }
        pins = {port: list(bits) for port, bits in facts["connections"].items()}
        cells.append((cell, kind, pins, outputs, parameters))
    return {
        "ports": {
            port: (facts["direction"], list(facts["bits"])) for port, facts in data["ports"].items()
        },
        "cells": cells,
        "nets": [
            (net, int(facts["hide_name"]), list(facts["bits"]))
            for net, facts in data["netnames"].items()
        ],
    }


@dataclass(frozen=True)
class Netlist:
    """Every distinct module of a design.

    Members
    -------
    top : str
        The outermost one.
    modules : mapping
        By name.
    """

    top: str
    modules: Mapping[str, Module]

    @cached_property
    def cells(self) -> Mapping[str, Counter[str]]:
        """Primitives by type in each module, those of the modules inside included."""
        totals: dict[str, Counter[str]] = {}

        def total(name: str) -> Counter[str]:
            if name not in totals:
                count: Counter[str] = Counter()
                for cell in self.modules[name].cells:
                    inner = total(cell.type) if cell.type in self.modules else {cell.type: 1}
                    count.update(inner)
                totals[name] = count
            return totals[name]

        total(self.top)
        return totals
