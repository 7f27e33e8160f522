"""Comparing what a design delivers with what a testbench expects."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from ..design import Design
from ..errors import MismatchError, RunError
from ..packing import Words, fields_of, unpack
from ..stalls import HELD
from ..testbench import Expectation, Testbench
from .plan import Channel, make_plan
from .running import Result, collect, run, start

__all__ = ["check", "check_held", "find_difference"]

HOLD_CYCLES = 16
"""How long an output is left waiting by :func:`check_held`."""


def check(design: Design, testbench: Testbench, engine: str = "cxxrtl", **options: Any) -> Result:
    """Run a testbench and compare every output with its expectation.

    Parameters
    ----------
    design, testbench, engine, **options
        As of :func:`~.running.run`.

    Raises
    ------
    MismatchError
        When an output differs; the message names the first payload that does, by time.
    RunError, ToolError, ValueError
        As :func:`~.running.run` does.
    """
    result = run(design, testbench, engine, **options)
    difference = find_difference(design, testbench, result)
    if difference is not None:
        raise MismatchError(f"{design.name} on {engine}: {difference}", result)
    return result


def find_difference(design: Design, testbench: Testbench, result: Result) -> str | None:
    """Return where the outputs of a run first differ from what was expected, or ``None``."""
    found = [
        difference
        for channel in make_plan(design, testbench).channels
        if not channel.is_input and channel.count is not None
        for difference in [_compare(channel, result)]
        if difference is not None
    ]
    return min(found)[1] if found else None


def _compare(channel: Channel, result: Result) -> tuple[int, str] | None:
    """Return cycle and description of a stream's first difference."""
    name, cycles, got = channel.name, result.transfers[channel.name], result.outputs[channel.name]
    expected = got[: channel.count] if channel.words is None else channel.words
    n = min(len(got), len(expected))
    differs = np.flatnonzero((got[:n] != expected[:n]).any(axis=1))
    if len(differs):
        index = int(differs[0])
        cycle = int(cycles[index])
        where = _describe(channel.ports.shape, got[index], expected[index])
        text = f"{name}[{index}]{where}, in cycle {cycle}; {len(differs)} of {n} payloads differ"
        return cycle, text
    if len(got) > len(expected):
        cycle = int(cycles[n])
        return cycle, f"{name} delivers {len(got)} payloads, expected {n}; see cycle {cycle}"
    return None


def _describe(shape: Any, got: Words, expected: Words) -> str:
    """Return the first number that differs in a payload."""
    pairs = zip(_numbers(shape, got), _numbers(shape, expected), strict=True)
    for (path, number), (_, wanted) in pairs:
        if number != wanted:
            return f"{path} is {number}, expected {wanted}"
    return f" is {got.tobytes()[::-1].hex()}, expected {expected.tobytes()[::-1].hex()}"


def _numbers(shape: Any, words: Words) -> list[tuple[str, int]]:
    numbers: list[tuple[str, int]] = []
    payload = unpack(shape, words[np.newaxis])
    for field in fields_of(shape):
        found = payload
        for name in field.path:
            found = found[name]
        path = "".join(f".{name}" for name in field.path)
        for index in np.ndindex(field.dims):
            place = "".join(f"[{i}]" for i in index)
            numbers.append((path + place, int(found[(0, *index)])))
    return numbers


def check_held(
    design: Design, testbench: Testbench, engine: str = "pysim", **options: Any
) -> dict[str, int]:
    """Check that each output offers without being asked, and keeps what it offers.

    One output after the other is never taken from, while all else goes on as the testbench says:
    ``valid`` must come, and then it and the payload must stay.

    Parameters
    ----------
    design, testbench, engine, **options
        As of :func:`~.running.run`; outputs of which nothing is awaited are left out.

    Returns
    -------
    dict
        The cycle in which each output became valid.

    Raises
    ------
    RunError
        When an output does not offer anything in ``testbench.max_cycles``, or breaks a rule.
    """
    first: dict[str, int] = {}
    for held in make_plan(design, testbench).channels:
        if held.is_input or held.ports.ready is None or not held.count:
            continue
        outputs = dict(testbench.outputs)
        outputs[held.name] = Expectation(count=held.count, stall=HELD)
        plan = make_plan(design, replace(testbench, outputs=outputs))
        place = [channel.name for channel in plan.channels].index(held.name)
        with closing(start(plan, engine, **options)) as simulation:
            simulation.reset(testbench.reset_cycles)
            while simulation.cycle < testbench.max_cycles:
                simulation.advance(
                    min(HOLD_CYCLES, testbench.max_cycles - simulation.cycle), to_end=False
                )
                if simulation.transfers()[place].first_valid is not None:
                    simulation.advance(HOLD_CYCLES, to_end=False)
                    break
            result = collect(simulation, plan, engine)
            cycle = simulation.transfers()[place].first_valid
        if cycle is None:
            raise RunError(
                f"{design.name} on {engine}: {held.name}, never taken from, does not become valid "
                f"in {result.cycles} cycles: a valid must not wait for its ready",
                result,
            )
        if result.violations:
            raise RunError(f"{design.name} on {engine}: {result.problem()}", result)
        first[held.name] = cycle
    return first
