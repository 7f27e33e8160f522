"""Run synthesis: every distinct module once, two processes at a time, results kept."""

import gzip
import json
import logging
import re
import tempfile
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...tb.design import Design
from ...tb.errors import ToolError
from ...tb.yosys import FullYosys
from .netlist import Module, Netlist, reduced
from .target import Target

if TYPE_CHECKING:
    from ...tb.engines.cache import Cache

__all__ = ["Progress", "run_synthesis"]

Progress = Callable[[str, float | None], None]
"""Is told each step as it begins, and the share that is done."""

PROCESSES = 2
"""Run at a time: each takes a core, and a gigabyte for large modules."""

TIMEOUT_SECONDS = 3600

_log = logging.getLogger(__name__)

# Reading its cell libraries takes Yosys three seconds, so that small modules share a run.
BATCH_BYTES, LARGE_BYTES = 100_000, 20_000

_FILE = "netlist.json.gz"
_KEY = "synthesis 1"  # counts up when what is kept changes
_TOP = "qkloom_synthesis"


@dataclass(frozen=True)
class _Source:
    """A module before synthesis."""

    name: str
    text: str
    outline: str
    """The same without a body."""
    children: tuple[str, ...]


@dataclass(frozen=True)
class _Batch:
    """Modules that share a run."""

    names: tuple[str, ...]
    text: str


def run_synthesis(
    design: Design, target: Target, yosys: FullYosys, cache: "Cache", progress: Progress
) -> Netlist:
    """Synthesize a design.

    Parameters
    ----------
    design : Design
        Emitted for the target's platform.
    target : Target
        What for.
    yosys : FullYosys
        The tool.
    cache : Cache
        Holds modules that were synthesized before.
    progress : callable
        Is told how far it is.

    Raises
    ------
    ToolError
        When Yosys fails, or leaves something that the target has no cell for.
    """
    batches = _batches(list(_split(design.rtlil)))
    keys = [(_KEY, yosys.version, target.digest, batch.text) for batch in batches]
    made: dict[str, Any] = {}
    missing = []
    for batch, key in zip(batches, keys, strict=True):
        if (folder := cache.find(key)) is None:
            missing.append((batch, key))
        else:
            made |= _read(folder)
    left = total = sum(len(batch.text) for batch, _ in missing)
    title = f"{sum(len(batch.names) for batch, _ in missing)} modules for {target.name}"
    if missing:
        _log.info("synthesizing %s ...", title)
        progress(title, 0.0)
    pool = ThreadPoolExecutor(PROCESSES)
    try:
        known = {*target.costs, *(name for batch in batches for name in batch.names)}
        runs = {
            pool.submit(_run_batch, batch, target, yosys, known): (batch, key)
            for batch, key in missing
        }
        for done in as_completed(runs):
            batch, key = runs[done]
            netlists = done.result()
            cache.get(key, partial(_write, netlists))
            made |= netlists
            left -= len(batch.text)
            progress(title, 1 - left / total)
    finally:
        pool.shutdown(cancel_futures=True)
    return Netlist(design.name, {name: Module.from_json(name, made[name]) for name in made})


def _split(rtlil: str) -> Iterator[_Source]:
    """Yield the modules of a design."""
    # A wire `x[1]` beside a port `x` stops Yosys: YosysHQ/yosys#4349.
    while (shorter := re.sub(r"(\\\S*?)\[(\d+)\]", r"\1.\2", rtlil)) != rtlil:
        rtlil = shorter
    texts = re.findall(r"^(?:attribute [^\n]*\n)*module \S+\n.*?^end\n", rtlil, re.M | re.S)
    names = [re.search(r"^module (\S+)$", text, re.M)[1] for text in texts]  # type: ignore[index]
    known = set(names)
    for name, text in zip(names, texts, strict=True):
        ports = re.findall(r"^  wire .*\b(?:input|output|inout) \d+ .*\n", text, re.M)
        cells = re.findall(r"^  cell (\S+) ", text, re.M)
        yield _Source(
            name.removeprefix("\\"),
            re.sub(r"^attribute \\top 1\n", "", text, flags=re.M),
            f"attribute \\blackbox 1\nmodule {name}\n{''.join(ports)}end\n",
            tuple(sorted({cell.removeprefix("\\") for cell in cells if cell in known})),
        )


def _batches(sources: Sequence[_Source]) -> list[_Batch]:
    """Distribute modules over runs: large ones alone and first, so that none is waited for.

    Names that Yosys has made before decide ties in its mapping, so that a module may come out a
    LUT larger beside others. What shares a run therefore depends on the design alone, and not on
    what was synthesized before.
    """
    outlines = {source.name: source.outline for source in sources}
    large = [[source] for source in sources if len(source.text) >= LARGE_BYTES]
    small: list[list[_Source]] = []
    size = BATCH_BYTES
    for source in sources:
        if len(source.text) < LARGE_BYTES:
            if size + len(source.text) > BATCH_BYTES:
                small.append([])
                size = 0
            small[-1].append(source)
            size += len(source.text)
    batches = [_join(group, outlines) for group in [*large, *small]]
    return sorted(batches, key=lambda batch: -len(batch.text))


def _join(group: Sequence[_Source], outlines: Mapping[str, str]) -> _Batch:
    """Write modules as one design."""
    inside = {source.name: source for source in group}
    outside = {child for source in group for child in source.children} - set(inside)
    # Yosys works on what a top module contains, and keeps unconnected cells when it is told to.
    cells = "".join(
        f"  attribute \\keep 1\n  cell \\{name} \\cell_{index}\n  end\n"
        for index, name in enumerate(sorted(inside))
    )
    texts = [
        *(outlines[name] for name in sorted(outside)),
        *(inside[name].text for name in sorted(inside)),
        f"attribute \\top 1\nmodule \\{_TOP}\n{cells}end\n",
    ]
    return _Batch(tuple(sorted(inside)), "".join(texts))


def _run_batch(
    batch: _Batch, target: Target, yosys: FullYosys, known: Container[str]
) -> dict[str, Any]:
    """Synthesize some modules; return what is kept of each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "design.il").write_text(batch.text)
        for name, content in target.files.items():
            (folder / name).write_bytes(content)
        commands = [command.format(top=_TOP) for command in target.commands]
        commands = ["read_rtlil design.il", *commands, "write_json -selected netlist.json"]
        try:
            yosys.run(commands, cwd=folder, timeout=TIMEOUT_SECONDS, title="Synthesis")
        except ToolError as error:
            raise ToolError(f"{error}; {target.needs}" if target.needs else str(error)) from None
        try:
            modules = dict(json.loads((folder / "netlist.json").read_text())["modules"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise ToolError(
                "Yosys wrote no netlist that can be read: no count is given; "
                "look for room in the folder of temporary files"
            ) from None
    if lost := set(batch.names).difference(modules):
        raise ToolError(f"Yosys made nothing of {min(lost)}: no count is given")
    return {
        name: reduced(name, modules[name], known=known, target=target.name) for name in batch.names
    }


def _write(data: Any, folder: Path) -> None:
    (folder / _FILE).write_bytes(gzip.compress(json.dumps(data).encode(), 6, mtime=0))


def _read(folder: Path) -> Any:
    try:
        return json.loads(gzip.decompress((folder / _FILE).read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ToolError(
            f"{folder / _FILE} cannot be read: {error}; empty the cache by `qkloom doctor --prune`"
        ) from error
