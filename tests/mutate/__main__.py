"""`make mutate`: break the RTL of each unit a hundred times, and see its testbenches notice.

    python -m tests.mutate [--all | --stale] [--json] [--jobs N] [module or unit ...]

A unit runs when its row in `results.json` is not of its present hardware and testbenches; with
`--all`, every unit does; with `--stale`, only their names are printed. That file and `results.md`,
which is made from it, belong to the sources. The exit code is 1 when a unit falls short of 95 %,
and 2 for a unit that nobody knows.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from amaranth.hdl import UnusedElaboratable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import results
from .trial import fingerprint, try_unit
from .unit import Unit

N_MUTANTS, SEED = 100, 1

HERE = Path(__file__).parent

# Units are descriptions: what is emitted are copies of them.
warnings.simplefilter("ignore", UnusedElaboratable)

_units: dict[str, Unit] = {}
"""By name; worker processes inherit it, as stimuli are costly to send."""


def main(arguments: list[str] | None = None) -> int:
    """Run what has changed; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("names", nargs="*", help="modules or units; all of them by default")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="run units that did not change, too")
    which.add_argument("--stale", action="store_true", help="only tell which units would run")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    modules = {path.stem.removeprefix("of_"): path.stem for path in sorted(HERE.glob("of_*.py"))}
    of_module = {}
    for short, module in modules.items():
        for unit in importlib.import_module(f"tests.mutate.{module}").units():
            _units[unit.name] = unit
            of_module[unit.name] = short
    for name in options.names:
        if name not in _units and name not in modules:
            known = "; ".join([*modules, *_units])
            print(
                f"There is no module or unit {name!r} to mutate; there are: {known}",
                file=sys.stderr,
            )
            return 2
    chosen = [
        name
        for name in _units
        if not options.names or name in options.names or of_module[name] in options.names
    ]
    rows = {row["unit"]: row for row in results.read() if row["unit"] in _units}
    prints = {name: fingerprint(_units[name], n=N_MUTANTS, seed=SEED) for name in chosen}
    changed = [
        name
        for name in chosen
        if options.all
        or name not in rows
        or prints[name] != {key: rows[name][key] for key in prints[name]}
    ]
    if options.stale:
        print("\n".join(changed))
        return 0
    console = Console(stderr=True)
    console.print(
        f"{len(changed)} of {len(chosen)} units to run; the others are as in results.json",
        highlight=False,
    )
    failed = _run_all(changed, rows, options.jobs, console) if changed else []
    kept = results.write(rows, _units)
    if options.json:
        print(json.dumps(kept, indent=1))
    else:
        print(results.summary(kept))
    return 1 if failed or any(not results.is_enough(row) for row in kept) else 0


def _run_all(
    names: list[str], rows: dict[str, dict[str, Any]], jobs: int, console: Console
) -> list[str]:
    """Run units, and put their rows into ``rows`` as they come; return those that failed."""
    failed = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context) as pool:
        # The pool forks before the progress bar starts its thread.
        waiting: dict[Future[tuple[dict[str, Any], float]], str] = {
            pool.submit(_run, name): name for name in names
        }
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("units", total=len(names))
            for future in as_completed(waiting):
                name = waiting[future]
                rows.pop(name, None)
                try:
                    row, seconds = future.result()
                except Exception as error:
                    failed.append(name)
                    line = f"{name}: failed: {error}"
                else:
                    rows[name] = row
                    line = f"{results.line(row)}, {seconds:.0f} s"
                # An interrupted run keeps what it has.
                results.write(rows, _units)
                progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
                progress.advance(task)
    return failed


def _run(name: str) -> tuple[dict[str, Any], float]:
    start = time.perf_counter()
    trial = try_unit(_units[name], n=N_MUTANTS, seed=SEED)
    return results.row_of(trial), time.perf_counter() - start


if __name__ == "__main__":
    code = main()
    # While the filter above still holds.
    _units.clear()
    gc.collect()
    sys.exit(code)
