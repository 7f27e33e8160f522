"""What was proven: `results.json`, and `results.md` for readers."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .proof import Proof

__all__ = ["is_proven", "line", "read", "summary", "write"]

HERE = Path(__file__).parent
JSON, TABLE = HERE / "results.json", HERE / "results.md"

HEADER = """# Proofs

Written by `make prove`; do not edit. A row holds for the hardware of its digest, a hash of the
emitted RTLIL (`results.json` has that of models, stimuli and expected values, too); seconds are of
two processes on two cores. *Induction* proves a claim for every input in every cycle. Simulations
compare every word of every run with NumPy.

"""

TITLES = {
    "blocks": "Blocks: structure and twin are equal",
    "arrays": "Arrays: simulated products, sums and netlists",
}
"""Headings, by module."""


def read() -> list[dict[str, Any]]:
    """Return the rows as they are in the file; none if there is none."""
    return json.loads(JSON.read_text()) if JSON.exists() else []


def write(
    rows: Mapping[str, dict[str, Any]], modules: Mapping[str, Iterable[Proof]]
) -> list[dict[str, Any]]:
    """Write both files, in the order of the proofs; return the rows."""
    kept = []
    table = HEADER
    for module, proofs in modules.items():
        table += f"## {TITLES[module]}\n\n| what | claim | by | hardware | steps | s | |\n"
        table += "|---|---|---|---|--:|--:|---|\n"
        for proof in proofs:
            if proof.name in rows:
                row = {
                    "proof": proof.name,
                    "module": module,
                    "claim": proof.claim,
                    "how": proof.how,
                    **rows[proof.name],
                }
                kept.append(row)
                cells = (proof.name, proof.claim, proof.how, f"`{row['hardware']}`")
                figures = (str(row["steps"]), f"{row['seconds']:.0f}", row["verdict"])
                table += f"| {' | '.join([*cells, *figures])} |\n"
        table += "\n"
    JSON.write_text(json.dumps(kept, indent=1) + "\n")
    TABLE.write_text(table.rstrip("\n") + "\n")
    return kept


def is_proven(row: Mapping[str, Any]) -> bool:
    """Tell whether a proof came to its end."""
    return bool(row["verdict"] == "proven")


def line(name: str, row: Mapping[str, Any]) -> str:
    """Return what became of a proof, in one line."""
    return f"{name}: {row['verdict']}, {row['steps']} steps, {row['seconds']:.0f} s"


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what is not proven, and how many are."""
    rows = list(rows)
    failed = [f"{row['proof']}: {row['verdict']}" for row in rows if not is_proven(row)]
    return "\n".join([*failed, f"{len(rows) - len(failed)} of {len(rows)} proven"])
