"""What the streams of a waveform did, cycle by cycle: transfers, stalls, utilization.

Values are taken just before each rising edge of the clock, which is when a transfer happens.
In each cycle a stream is in one of four states:

======== ===== ===== ==============================================
state    valid ready meaning
======== ===== ===== ==============================================
transfer 1     1     an item moves
starved  0     1     the consumer would take an item; there is none
blocked  1     0     an item waits; the consumer does not take it
idle     0     0     neither
======== ===== ===== ==============================================

A stream without a ``ready`` signal is always ready.
"""

import re
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .tensors import InputError

__all__ = ["STATES", "Counts", "StreamWave", "UnitCounts", "Waves", "format_table"]

Mask = npt.NDArray[np.bool_]

STATES = ("transfer", "starved", "blocked", "idle")

EVERYTHING = slice(None)


@dataclass(frozen=True)
class Counts:
    """Cycles that a stream spent in each state of a window.

    Members
    -------
    transfers, starved, blocked, idle : int
        Cycles; together the window.
    """

    transfers: int
    starved: int
    blocked: int
    idle: int

    @property
    def cycles(self) -> int:
        """Length of the window."""
        return self.transfers + self.starved + self.blocked + self.idle

    @property
    def utilization(self) -> float:
        """Transfers per cycle."""
        return self.transfers / max(self.cycles, 1)


@dataclass(frozen=True)
class UnitCounts:
    """Where the cycles of a unit went; each cycle counts under the first line that holds.

    Members
    -------
    busy : int
        The stream that carries the work moved an item.
    blocked : int
        An output waited to be taken.
    starved : int
        The unit would have taken an item from an input that had none.
    held : int
        An item waited at an input and the unit did not take it, for reasons of its own.
    idle : int
        Nothing was offered or asked for.
    """

    busy: int
    blocked: int
    starved: int
    held: int
    idle: int

    @property
    def cycles(self) -> int:
        """Length of the window."""
        return self.busy + self.blocked + self.starved + self.held + self.idle

    @property
    def utilization(self) -> float:
        """Busy cycles per cycle."""
        return self.busy / max(self.cycles, 1)


@dataclass(frozen=True, eq=False)
class StreamWave:
    """One stream, sampled once a cycle.

    Members
    -------
    name : str
        Hierarchical name.
    valid, ready : array of bool
        One element per cycle.
    """

    name: str
    valid: Mask
    ready: Mask

    def state(self, state: str) -> Mask:
        """Return in which cycles the stream is in one of :data:`STATES`."""
        match state:
            case "transfer":
                return self.valid & self.ready
            case "starved":
                return ~self.valid & self.ready
            case "blocked":
                return self.valid & ~self.ready
            case "idle":
                return ~(self.valid | self.ready)
        raise ValueError(f"A state must be one of {', '.join(STATES)}, not {state!r}")

    def counts(self, window: slice = EVERYTHING) -> Counts:
        """Count the cycles of each state in a window of cycles."""
        return Counts(*(int(np.count_nonzero(self.state(s)[window])) for s in STATES))

    def occupancy(self, bin_cycles: int, state: str = "transfer") -> npt.NDArray[np.float64]:
        """Return the share of cycles in ``state``, for each bin of ``bin_cycles`` cycles.

        The last bin may be shorter; its share is that of the cycles it has.
        """
        if bin_cycles < 1:
            raise ValueError(f"A bin must have at least one cycle, not {bin_cycles}")
        mask = self.state(state)
        starts = np.arange(0, len(mask), bin_cycles)
        if not len(starts):
            return np.empty(0)
        return np.add.reduceat(mask, starts, dtype=float) / np.diff(starts, append=len(mask))


class Waves:
    """The streams of a VCD file.

    A stream ``x`` is a signal ``x__valid`` (or ``x_valid``) with its ``x__ready``, its
    ``x__payload``, or both beside it. Its name is the scope with ``x``: ``bench.top.i``.
    What is always valid has no such signal and is not listed.

    Parameters
    ----------
    path : path
        The file; of Amaranth's simulator, cxxrtl or Verilator.
    clock : str, optional
        The clock's hierarchical name; the outermost ``clk`` by default.

    Members
    -------
    cycles : int
        Rising edges of the clock.
    streams : mapping
        Each :class:`StreamWave` by its hierarchical name, in the order of the file.

    Raises
    ------
    InputError
        When there is no such file, it is no VCD, or the clock is missing or never rises.
    """

    def __init__(self, path: str | Path, *, clock: str | None = None) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise InputError(f"{path} must be an existing VCD file; check the path")
        names = self._read(only_sigs=True).references_to_ids
        if clock is None:
            clocks = [name for name in names if name.rpartition(".")[2] == "clk"]
            clock = min(clocks, key=lambda name: name.count("."), default="clk")
        if clock not in names:
            raise InputError(f"{path} must be a VCD file with the clock {clock}; name its clock")

        pairs = _find_streams(names, simulated="Generated by Amaranth" in self._first_line())
        wanted = {clock, *(name for pair in pairs.values() for name in pair if name)}
        vcd = self._read(signals=sorted(wanted))
        times, levels = _changes(vcd[clock].tv)
        edges = times[levels & ~np.concatenate([[True], levels[:-1]])]
        if not len(edges):
            raise InputError(f"{path}: the clock {clock} must rise at least once; name its clock")
        self.cycles = len(edges)
        samples = {code: _sample(wave.tv, edges) for code, wave in vcd.data.items()}
        always = np.ones(self.cycles, dtype=bool)
        self.streams: Mapping[str, StreamWave] = {
            name: StreamWave(
                name, samples[names[valid]], samples[names[ready]] if ready else always
            )
            for name, (valid, ready) in pairs.items()
        }

    def stream(self, name: str) -> StreamWave:
        """Return the stream of this name, or the only one whose name ends in it.

        Raises
        ------
        InputError
            When there is none, or there are several.
        """
        if name in self.streams:
            return self.streams[name]
        found = [full for full in self.streams if full.endswith(f".{name}")]
        if len(found) != 1:
            others = ", ".join(found or self.streams) or "none"
            raise InputError(
                f"{self._path}: a name must stand for one stream, and {name!r} stands for "
                f"{len(found)}; choose from: {others}"
            )
        return self.streams[found[0]]

    def counts(self, window: slice = EVERYTHING) -> dict[str, Counts]:
        """Count the states of every stream in a window of cycles."""
        return {name: stream.counts(window) for name, stream in self.streams.items()}

    def unit(
        self,
        name: str,
        *,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        work: str | None = None,
        window: slice = EVERYTHING,
    ) -> UnitCounts:
        """Say where the cycles of a unit went.

        Parameters
        ----------
        name : str
            The unit's scope, ``bench.top.matrix``, or the end of it.
        inputs, outputs : sequence of str
            Its streams, without the scope. By default ``i``, ``i_*`` and ``o``, ``o_*``:
            a waveform does not tell which way a stream goes.
        work : str, optional
            The stream whose transfers are the unit's work; the first input by default.
        window : slice
            The cycles to count.

        Raises
        ------
        InputError
            When the unit has no such stream.
        """
        paths = [full.rpartition(".") for full in self.streams]
        own = [tail for scope, _, tail in paths if f".{scope}".endswith(f".{name}")]
        inputs = inputs or [x for x in own if x == "i" or x.startswith("i_")]
        outputs = outputs or [x for x in own if x == "o" or x.startswith("o_")]
        work = work or next(iter(inputs), "i")
        into, out = ([self.stream(f"{name}.{x}") for x in xs] for xs in (inputs, outputs))

        reasons = {
            "busy": [self.stream(f"{name}.{work}").state("transfer")],
            "blocked": [stream.state("blocked") for stream in out],
            "starved": [stream.state("starved") for stream in into],
            "held": [stream.state("blocked") for stream in into],
            "idle": [np.ones(self.cycles, dtype=bool)],
        }
        left = np.ones(self.cycles, dtype=bool)
        spent = {}
        for reason, masks in reasons.items():
            holds = left & np.logical_or.reduce(masks, axis=0)
            spent[reason] = int(np.count_nonzero(holds[window]))
            left &= ~holds
        return UnitCounts(**spent)

    def span(self, *names: str) -> slice:
        """Return the window from the first transfer of these streams to the last."""
        moved = np.logical_or.reduce([self.stream(name).state("transfer") for name in names])
        cycles = np.flatnonzero(moved)
        return slice(int(cycles[0]), int(cycles[-1]) + 1) if len(cycles) else slice(0, 0)

    def _first_line(self) -> str:
        with self._path.open("rb") as file:
            return file.readline().decode(errors="replace")

    def _read(self, **options: Any) -> Any:
        reader = _import_reader()
        try:
            return reader(str(self._path), **options)
        except Exception as error:  # of a line by line parser, on anything that is no VCD
            raise InputError(
                f"{self._path} must be a VCD file: {error!r}; record it again"
            ) from error


def format_table(counts: Mapping[str, Counts]) -> str:
    """Return counts by stream as a table in plain text."""
    heading = ("stream", "transfers", "starved", "blocked", "idle", "utilization")
    rows = [
        (name, *map(str, (c.transfers, c.starved, c.blocked, c.idle)), f"{c.utilization:.1%}")
        for name, c in counts.items()
    ]
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in (heading, *rows)
    )


def _import_reader() -> Any:
    """Import vcdvcd, without what that does to the process.

    The import makes the process end silently when it writes to a pipe that nobody reads.
    """
    pipe = getattr(signal, "SIGPIPE", None)  # not on Windows
    before = signal.getsignal(pipe) if pipe else None
    from vcdvcd import VCDVCD

    if pipe and before is not None and signal.getsignal(pipe) != before:
        signal.signal(pipe, before)
    return VCDVCD


def _find_streams(
    codes: Mapping[str, str], *, simulated: bool
) -> dict[str, tuple[str, str | None]]:
    """Return the names of the signals (valid, ready or None) of each stream.

    Amaranth shows the ports of a submodule in the scope of its parent too, and tells equal names
    apart by ``$n``. Its simulator counts ``n`` for each name alone, so that ``i__valid$7`` may go
    with ``i__ready$5``, and the plain name may be the submodule's: there, what a scope shares
    with a deeper one is the submodule's. Elsewhere the plain name is the scope's own.

    Parameters
    ----------
    codes : mapping
        What tells signals apart in the file, by hierarchical name.
    simulated : bool
        Whether Amaranth's simulator wrote the file.
    """

    def depth_of(item: tuple[str, str]) -> int:
        return item[0].count(".")

    depth = {code: name.count(".") for name, code in sorted(codes.items(), key=depth_of)}
    own: dict[str, list[str]] = defaultdict(list)
    for name, code in codes.items():
        whole = re.sub(r"\[\d+:\d+\]$", "", name)  # Verilator's way to tell the width
        plain = re.sub(r"\$\d+$", "", whole)
        if depth[code] == name.count(".") if simulated else plain == whole:
            own[plain].append(name)

    streams: dict[str, tuple[str, str | None]] = {}
    for plain in own:
        if match := re.fullmatch(r"(.*[^_.])(_{1,2})valid", plain):
            stem, joint = match.groups()
            valid, ready = own[plain], own.get(f"{stem}{joint}ready", [])
            # Two of one name in one scope cannot be told apart: neither is listed.
            if len(valid) == 1 >= len(ready) and (ready or f"{stem}{joint}payload" in own):
                streams[stem] = valid[0], ready[0] if ready else None
    return streams


def _changes(values: Sequence[tuple[int, str]]) -> tuple[npt.NDArray[np.int64], Mask]:
    """Return when a signal changes, and to what; unknown values count as 0."""
    times = np.fromiter((time for time, _ in values), np.int64, len(values))
    return times, np.fromiter((value == "1" for _, value in values), bool, len(values))


def _sample(values: Sequence[tuple[int, str]], edges: npt.NDArray[np.int64]) -> Mask:
    """Return the value just before each edge."""
    times, levels = _changes(values)
    return np.concatenate([[False], levels])[np.searchsorted(times, edges)]
