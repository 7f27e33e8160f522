"""`make bench`: measure everything that the project promises, and print it beside what was asked.

Each module `bench_*.py` in this folder has a function `rows()`, which yields one dict per figure:

    name, value, unit, asked (a number, or None for a figure that is only shown), better ("less" or
    "more"), how (what was measured, in words)

All of them go to `build/bench.json`. Names on the command line select modules: `python -m
tests.bench arrays`.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def meets(row: dict) -> bool | None:
    """Tell whether a figure is what was asked; None where nothing was."""
    if row["asked"] is None:
        return None
    if row["better"] == "less":
        return row["value"] <= row["asked"]
    return row["value"] >= row["asked"]


def main(names: list[str]) -> None:
    """Run the modules, print a table of each as it comes, and write them all."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    modules = sorted(path.stem for path in HERE.glob("bench_*.py"))
    chosen = [f"bench_{name}" for name in names] or modules
    unknown = sorted(set(chosen) - set(modules))
    if unknown:
        known = ", ".join(name.removeprefix("bench_") for name in modules)
        sys.exit(f"There is no benchmark {unknown[0].removeprefix('bench_')!r}; there are: {known}")
    everything = []
    for name in chosen:
        start = time.perf_counter()
        table = Table(title=name.removeprefix("bench_"), title_justify="left")
        for column in ("figure", "measured", "asked", "", "how"):
            table.add_column(column, justify="right" if column in ("measured", "asked") else "left")
        for row in importlib.import_module(f"tests.bench.{name}").rows():
            verdict = meets(row)
            sign = "at most" if row["better"] == "less" else "at least"
            asked = "" if row["asked"] is None else f"{sign} {row['asked']:,.6g}"
            word = {None: "", True: "met", False: "[bold]MISSED[/]"}[verdict]
            table.add_row(
                row["name"], f"{row['value']:,.6g} {row['unit']}", asked, word, row["how"]
            )
            everything.append({"module": name, **row, "met": verdict})
        console.print(table)
        console.print(f"{name}: {time.perf_counter() - start:.0f} s\n")
    target = Path("build/bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(everything, indent=1) + "\n")
    missed = [row["name"] for row in everything if row["met"] is False]
    console.print(f"{len(everything)} figures in {target}; missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1:])
