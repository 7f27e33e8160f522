"""What became of all mutants: `results.json`, and `results.md` for readers."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .trial import ALIVE, EQUIVALENT, KILLED, LATE, Trial
from .unit import Unit

__all__ = ["ASKED", "is_enough", "line", "read", "row_of", "summary", "write"]

ASKED = 0.95
"""Share of the mutants of a unit that its testbenches must kill."""

HERE = Path(__file__).parent
JSON, TABLE = HERE / "results.json", HERE / "results.md"

UNEXPLAINED = "unexplained"

EXPLAINED = {LATE: "The same payloads at other times, and the unit promises no times."}
"""Why a mutant of some kind survives, unless the unit says more."""

HEADER = """# Mutants

Written by `make mutate`; do not edit. A mutant is one bit at one port of one cell of the emitted
hardware, inverted, stuck or mixed with its neighbour. Of each unit, {n} that are not proven to be
the same hardware run through the testbenches of the unit until one notices, by its payloads
(*values*), a stream rule (*rule*), no end (*stuck*) or a promised time (*time*). *Late* mutants
only change times that the unit does not promise; they count as survivors.

| unit | mutants | drawn | equivalent | values | rule | stuck | time | late | alive | killed |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def read() -> list[dict[str, Any]]:
    """Return the rows as they are in the file; none if there is none."""
    return json.loads(JSON.read_text()) if JSON.exists() else []


def row_of(trial: Trial) -> dict[str, Any]:
    """Return the row of a unit, in which survivors are not explained yet."""
    return {
        "unit": trial.unit.name,
        **trial.fingerprint,
        "possible": trial.n_possible,
        "drawn": len(trial.outcomes),
        "equivalent": trial.count(EQUIVALENT),
        "killed": {kind: trial.count(kind) for kind in KILLED},
        "survivors": [
            {"kind": outcome.verdict, "place": outcome.mutant.place}
            for outcome in trial.outcomes
            if outcome.verdict in (LATE, ALIVE)
        ],
    }


def write(rows: Mapping[str, dict[str, Any]], units: Mapping[str, Unit]) -> list[dict[str, Any]]:
    """Write both files, in the order of the units, survivors explained; return the rows."""
    kept = [_explained(rows[name], unit) for name, unit in units.items() if name in rows]
    JSON.write_text(json.dumps(kept, indent=1) + "\n")
    TABLE.write_text(_table(kept))
    return kept


def is_enough(row: Mapping[str, Any]) -> bool:
    """Tell whether enough mutants of a unit are killed."""
    return _n_killed(row) >= ASKED * _n_run(row)


def line(row: Mapping[str, Any]) -> str:
    """Return what became of a unit, in one line."""
    short = "" if is_enough(row) else f", which is less than {ASKED:.0%}"
    return (
        f"{row['unit']}: {_n_killed(row)} of {_n_run(row)} killed{short}; "
        f"{row['equivalent']} more proven equivalent"
    )


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the survivors, and how many units fall short."""
    rows = list(rows)
    short = [row["unit"] for row in rows if not is_enough(row)]
    found = [*_survivors(rows)]
    killed, run = sum(map(_n_killed, rows)), sum(map(_n_run, rows))
    found.append(f"{len(rows)} units, {killed:,} of {run:,} mutants killed")
    found.append(f"Less than {ASKED:.0%} killed: {', '.join(short) or 'nowhere'}")
    return "\n".join(found)


def _n_killed(row: Mapping[str, Any]) -> int:
    return sum(row["killed"].values())


def _n_run(row: Mapping[str, Any]) -> int:
    return int(row["drawn"] - row["equivalent"])


def _explained(row: dict[str, Any], unit: Unit) -> dict[str, Any]:
    survivors = []
    for mutant in row["survivors"]:
        common = EXPLAINED.get(mutant["kind"], UNEXPLAINED)
        why = unit.explained.get(mutant["place"], common)
        survivors.append({"kind": mutant["kind"], "place": mutant["place"], "explanation": why})
    return row | {"survivors": survivors}


def _survivors(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows:
        for mutant in row["survivors"]:
            yield f"{row['unit']}: {mutant['kind']}: {mutant['place']}: {mutant['explanation']}"


def _table(rows: list[dict[str, Any]]) -> str:
    text = HEADER.format(n=max((_n_run(row) for row in rows), default=0))
    for row in rows:
        kinds = [mutant["kind"] for mutant in row["survivors"]]
        figures = [
            *(f"{row[key]:,}" for key in ("possible", "drawn", "equivalent")),
            *(str(row["killed"][kind]) for kind in KILLED),
            str(kinds.count(LATE)),
            str(kinds.count(ALIVE)),
            f"{_n_killed(row) / _n_run(row):.0%}",
        ]
        text += f"| {row['unit']} | {' | '.join(figures)} |\n"
    text += "\n## Survivors\n\n"
    for row in rows:
        for mutant in row["survivors"]:
            place = mutant["place"]
            text += f"- {row['unit']}, {mutant['kind']}: `{place}`. {mutant['explanation']}\n"
    return text
