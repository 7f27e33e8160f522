"""Read the utilization reports of Vivado, to put them beside counts of Yosys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...tb.errors import InputError

__all__ = ["Utilization", "read_utilization"]

# Rows of `report_utilization`, and what one of them is worth in each column.
_ROWS: Mapping[str, tuple[str, float]] = {
    "clb luts": ("lut", 1),
    "slice luts": ("lut", 1),
    "lut as memory": ("lutram", 1),
    "clb registers": ("ff", 1),
    "slice registers": ("ff", 1),
    "carry8": ("carry8", 1),
    "carry4": ("carry8", 0.5),
    "block ram tile": ("bram36", 1),
    "uram": ("uram", 1),
    "dsps": ("dsp", 1),
}
# Columns of `report_utilization -hierarchical`. Only there has each instance a row.
_COLUMNS: Mapping[str, tuple[str, float]] = {
    "total luts": ("lut", 1),
    "lutrams": ("lutram", 1),
    "srls": ("lutram", 1),
    "ffs": ("ff", 1),
    "ramb36": ("bram36", 1),
    "ramb18": ("bram36", 0.5),
    "uram": ("uram", 1),
    "dsps": ("dsp", 1),
    "dsp blocks": ("dsp", 1),
    "dsp slices": ("dsp", 1),
    "dsp48 blocks": ("dsp", 1),
}


@dataclass(frozen=True)
class Utilization:
    """What a report says.

    Members
    -------
    total : mapping
        Columns of the whole design; a report of the hierarchy has no ``carry8``.
    instances : mapping
        Columns of each instance by its path below the top, as ``lane_0.matrix``.
    """

    total: Mapping[str, float]
    instances: Mapping[str, Mapping[str, float]]


def read_utilization(file: Path) -> Utilization:
    """Read the text of ``report_utilization``, with or without ``-hierarchical``.

    Raises
    ------
    InputError
        When the file is missing or something else.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"{file} must be a readable file: {error.strerror}; correct the path after --vivado"
        ) from None
    rows = [
        [cell for cell in line.strip()[1:-1].split("|")]
        for line in text.splitlines()
        if line.strip().startswith("|") and line.strip().endswith("|")
    ]
    header = next((row for row in rows if row[0].strip().lower() == "instance"), None)
    try:
        found = _read_rows(rows) if header is None else _read_hierarchy(header, rows)
    except ValueError as error:
        raise InputError(
            f"{file} must have numbers in its tables: {error}; write it anew"
        ) from None
    if "lut" not in found.total or "ff" not in found.total:
        raise InputError(
            f"{file} must be a utilization report of Vivado, and has no LUTs and registers; "
            "write it by `report_utilization -file utilization.rpt`, as text"
        )
    return found


def _read_rows(rows: list[list[str]]) -> Utilization:
    total: dict[str, float] = {}
    for row in rows:
        # `CLB LUTs*` has a footnote: counts before placement.
        name = row[0].strip().rstrip("*").lower()
        if name in _ROWS and len(row) > 1:
            column, worth = _ROWS[name]
            if column not in total:  # a later table has some of the rows again
                total[column] = worth * _number(row[1])
    return Utilization(total, {})


def _read_hierarchy(header: list[str], rows: list[list[str]]) -> Utilization:
    names = [name.strip().lower() for name in header]
    total: dict[str, float] = {}
    instances: dict[str, Mapping[str, float]] = {}
    path: list[str] = []
    for row in rows[rows.index(header) + 1 :]:
        if len(row) != len(names):
            continue
        counts: dict[str, float] = {}
        for name, cell in zip(names, row, strict=True):
            if name in _COLUMNS:
                column, worth = _COLUMNS[name]
                counts[column] = counts.get(column, 0) + worth * _number(cell)
        # Two spaces more for each level; `(lane_0)` is what a module holds itself.
        depth = (len(row[0]) - len(row[0].lstrip()) - 1) // 2
        name = row[0].strip()
        if not total:
            total = counts
        elif not re.fullmatch(r"\(.*\)", name):
            path = [*path[: depth - 1], name]
            instances[".".join(path)] = counts
    return Utilization(total, instances)


def _number(cell: str) -> float:
    return float(cell.strip().replace(",", ""))
