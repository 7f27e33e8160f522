"""`make mutate`: break the RTL of each unit a hundred times, and see its testbenches notice.

Names on the command line select modules and units: `python -m tests.mutate streams queue`.
"""

import importlib
import sys
import time
from pathlib import Path

from .trial import KILLED, try_unit

MUTANTS, SEED = 100, 1


def main(names: list[str]) -> None:
    """Print a line per unit, and every mutant that nothing noticed."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("of_*.py"))
    chosen = [m for m in modules if not names or m.removeprefix("of_") in names] or modules
    for module in chosen:
        for unit in importlib.import_module(f"tests.mutate.{module}").units():
            if names and not any(name in (module.removeprefix("of_"), unit.name) for name in names):
                continue
            start = time.perf_counter()
            trial = try_unit(unit, n=MUTANTS, seed=SEED, report=print)
            killed, late, alive = trial.count(*KILLED), trial.count("late"), trial.count("alive")
            print(
                f"{unit.name}: {killed} of {killed + late + alive} killed, "
                f"{trial.count('equivalent')} more proven equivalent, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
            for outcome in trial.outcomes:
                if outcome.verdict in ("late", "alive"):
                    print(f"    {outcome.verdict}: {outcome.mutant.place}")


if __name__ == "__main__":
    main(sys.argv[1:])
