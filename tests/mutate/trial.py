"""Running the mutants of one unit: which ones do its testbenches notice?"""

import hashlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from qkloom.gen.emit import emit
from qkloom.tb.design import Design
from qkloom.tb.engines import Result, run
from qkloom.tb.errors import RunError
from qkloom.tb.streams import streams_of
from qkloom.tb.testbench import Testbench

from .equivalence import is_equivalent, prove_claims
from .harness import Lawful
from .mutants import CONTROL, Mutant, Mutated, modules_of, mutate
from .unit import Unit

__all__ = [
    "ALIVE",
    "EQUIVALENT",
    "KILLED",
    "LATE",
    "Outcome",
    "Trial",
    "add_bench",
    "fingerprint",
    "try_unit",
]

KILLED = ("values", "rule", "stuck", "time")
"""What gives a mutant away: its outputs; a stream rule; no end; or a promised time."""

EQUIVALENT, LATE, ALIVE = "equivalent", "late", "alive"
"""Proven to be the same; differs in times that nobody promised; differs in nothing seen."""

RESERVE = 40
"""Mutants on top of those asked for, to take the place of equivalent ones."""

HANG_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Members
    -------
    mutant : Mutant
        Which one.
    verdict : str
        One of :data:`KILLED`, or ``equivalent``, ``late``, ``alive``.
    bench : int
        Which testbench noticed.
    """

    mutant: Mutant
    verdict: str
    bench: int


@dataclass(frozen=True)
class Trial:
    """What became of all mutants of a unit.

    Members
    -------
    unit : Unit
        Which one.
    fingerprint : dict
        What all this holds for.
    n_possible : int
        Mutants that could have been drawn.
    outcomes : tuple of Outcome
        Of those drawn, equivalent ones included.
    """

    unit: Unit
    fingerprint: dict[str, str | int]
    n_possible: int
    outcomes: tuple[Outcome, ...]

    def count(self, *verdicts: str) -> int:
        """Return how many mutants came to one of these ends."""
        return sum(outcome.verdict in verdicts for outcome in self.outcomes)


def fingerprint(unit: Unit, *, n: int, seed: int) -> dict[str, str | int]:
    """Return digests of a unit's hardware and of what is done with it; equal ones end equally."""
    plain = (
        n,
        unit.is_timed,
        unit.without,
        sorted(unit.claims.items()),
        sorted(unit.promises.items()),
    )
    digest = hashlib.sha256(repr(plain).encode())
    for bench in unit.benches:
        add_bench(digest, bench)
    hardware = emit(_lawful(unit)).digest
    return {"hardware": hardware[:16], "testbenches": digest.hexdigest()[:16], "seed": seed}


def add_bench(digest: Any, bench: Testbench) -> None:
    """Add to a digest what a testbench does; not what it expects."""
    digest.update(repr((bench.max_cycles, bench.aborted_cycles, bench.quiet_cycles)).encode())
    for name, stimulus in bench.inputs.items():
        # Integers beyond 64 bits are objects.
        values = np.asarray(stimulus.values)
        is_plain = values.dtype != object
        digest.update(repr((name, stimulus.stall, values.shape, values.dtype)).encode())
        digest.update(values.tobytes() if is_plain else repr(values.tolist()).encode())
    for name, expectation in bench.outputs.items():
        digest.update(repr((name, expectation.stall, expectation.count)).encode())


def try_unit(unit: Unit, *, n: int, seed: int) -> Trial:
    """Run the testbenches of a unit on its mutants until ``n`` that are not equivalent have run."""
    design, inner = emit(_lawful(unit)), emit(unit.unit)
    modules = [name for name in modules_of(inner) if not name.startswith(unit.without or ("$",))]
    mutated = mutate(design, modules, n=n, reserve=RESERVE, seed=seed)
    prove_claims(mutated, unit.claims, unit.promises)
    outcomes: list[Outcome] = []
    for outcome in _run_all(mutated, unit):
        if outcome.verdict not in KILLED and is_equivalent(
            mutated, outcome.mutant, unit.claims, unit.promises
        ):
            outcome = replace(outcome, verdict=EQUIVALENT)
        outcomes.append(outcome)
        if sum(o.verdict != EQUIVALENT for o in outcomes) == n:
            break
    found = fingerprint(unit, n=n, seed=seed)
    return Trial(unit, found, mutated.n_possible, tuple(outcomes))


def _lawful(unit: Unit) -> Lawful:
    component = unit.component
    return Lawful(part=type(component), parameters=tuple(component.parameters.items()))


def _run_all(mutated: Mutated, unit: Unit) -> Iterator[Outcome]:
    """Run one mutant after the other, in a process of their own: some never settle."""
    context = multiprocessing.get_context("fork")
    references = [_run(mutated.design, bench, 0) for bench in unit.benches]
    waiting = list(mutated.mutants)
    while waiting:
        here, there = context.Pipe(duplex=False)
        arguments = (mutated.design, unit, references, waiting, there)
        worker = context.Process(target=_work, args=arguments)
        worker.start()
        there.close()
        try:
            while waiting and here.poll(HANG_SECONDS):
                verdict, bench = here.recv()
                yield Outcome(waiting.pop(0), verdict, bench)
            if waiting:
                yield Outcome(waiting.pop(0), "stuck", 0)
        finally:
            worker.kill()
            worker.join()


def _work(
    design: Design,
    unit: Unit,
    references: list[Result],
    mutants: list[Mutant],
    pipe: Connection,
) -> None:
    # A mutant may take twice as long before it counts as stuck.
    benches = [
        replace(bench, max_cycles=min(bench.max_cycles, 2 * reference.cycles + 200))
        for bench, reference in zip(unit.benches, references, strict=True)
    ]
    # An output without valid is sampled in every cycle, and so tells of time.
    streams = streams_of(design.component)
    sampled = {s.name for s in streams if not s.is_input and s.valid is None}
    for mutant in mutants:
        verdict, number = ALIVE, 0
        for number, (bench, reference) in enumerate(  # noqa: B007 - the last one is told
            zip(benches, references, strict=True)
        ):
            got = _run(design, bench, mutant.number)
            found = _compare(reference, got, sampled, unit.is_timed)
            verdict = found if verdict == ALIVE or found in KILLED else verdict
            if found in KILLED:
                break
        pipe.send((verdict, number))


def _run(design: Design, bench: Testbench, number: int) -> Result:
    try:
        return run(design, replace(bench, levels={CONTROL: number}))
    except RunError as error:
        return error.result


def _compare(expected: Result, got: Result, sampled: set[str], is_timed: bool) -> str:
    """Return what gives a mutant away, or what kind of survivor it is."""
    if got.violations:
        return "rule"
    if got.finished != expected.finished:
        return "stuck"
    for name, words in expected.outputs.items():
        if name not in sampled and not np.array_equal(got.outputs[name], words):
            return "values"
    same_times = all(
        np.array_equal(got.transfers[name], cycles) for name, cycles in expected.transfers.items()
    )
    if same_times and all(np.array_equal(got.outputs[n], expected.outputs[n]) for n in sampled):
        return ALIVE
    return "time" if is_timed else LATE
