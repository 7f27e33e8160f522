"""`make prove`: every proof that takes too long for `make test`.

    python -m tests.prove [--all] [--json] [--jobs N] [module or proof ...]

A proof runs when its row in `results.json` is not of its present hardware, models and stimuli; with
`--all`, every one does. A name also selects all proofs that begin with it. That file and
`results.md`, which is made from it, belong to the sources. The exit code is 1 when a proof fails,
and 2 for a name that nobody knows.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from amaranth.hdl import UnusedElaboratable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import results
from .proof import Proof

HERE = Path(__file__).parent

# Blocks are descriptions: what is emitted are copies of them.
warnings.simplefilter("ignore", UnusedElaboratable)

_proofs: dict[str, Proof] = {}
"""By name; worker processes inherit it, as what a proof runs cannot be sent."""


def main(arguments: list[str] | None = None) -> int:
    """Run what has changed; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("names", nargs="*", help="modules or proofs; all of them by default")
    parser.add_argument("--all", action="store_true", help="run proofs of what is unchanged, too")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    modules = {
        name: list(importlib.import_module(f"tests.prove.of_{name}").proofs())
        for name in results.TITLES
    }
    for proofs in modules.values():
        _proofs.update((proof.name, proof) for proof in proofs)
    chosen: list[str] = []
    for name in options.names or modules:
        known = [p.name for p in modules.get(name, _proofs.values())]
        found = known if name in modules else [proof for proof in known if proof.startswith(name)]
        if not found:
            there = "; ".join([*modules, *_proofs])
            print(f"There is no module or proof {name!r}; there are: {there}", file=sys.stderr)
            return 2
        chosen += [proof for proof in found if proof not in chosen]
    rows = {row.pop("proof"): row for row in results.read()}
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    context = multiprocessing.get_context("fork")
    # The pool forks before a progress bar starts its thread.
    with ProcessPoolExecutor(max_workers=options.jobs, mp_context=context) as pool:
        asked = {
            pool.submit(_run, name, {} if options.all else rows.get(name, {})) for name in chosen
        }
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("proofs", total=len(chosen))
            for future in as_completed(asked):
                name, row = future.result()
                progress.advance(task)
                if row is not None:
                    rows[name] = row
                    # An interrupted run keeps what it has.
                    results.write(rows, modules)
                    line = results.line(name, row)
                    progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
    kept = results.write(rows, modules)
    print(json.dumps(kept, indent=1) if options.json else results.summary(kept))
    return 0 if all(map(results.is_proven, kept)) else 1


def _run(name: str, before: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Run a proof, unless it is the one of before and was proven."""
    proof = _proofs[name]
    try:
        found = proof.fingerprint()
    except Exception as error:
        verdict = f"cannot begin: {type(error).__name__}: {error}"
        return name, {"hardware": "", "given": "", "steps": 0, "seconds": 0.0, "verdict": verdict}
    if before and results.is_proven(before) and found == {key: before[key] for key in found}:
        return name, None
    return name, {**found, **proof.run()}


if __name__ == "__main__":
    code = main()
    # While the filter above still holds.
    _proofs.clear()
    gc.collect()
    sys.exit(code)
