"""Run synthesis: every distinct module once, two processes at a time, results kept."""

import gzip
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...tb.design import Design
from ...tb.engines.cache import Cache
from ...tb.errors import ToolError
from ...tb.yosys import FullYosys
from .netlist import Module, Netlist, reduced
from .target import Target

__all__ = ["Progress", "run_synthesis"]

Progress = Callable[[str, float | None], None]
"""Is told each step as it begins, and the share that is done."""

PROCESSES = 2
"""Run at a time: each takes a core, and a gigabyte for large modules."""

TIMEOUT_SECONDS = 3600

_log = logging.getLogger(__name__)

# Reading its cell libraries takes Yosys seconds, so that small modules share a run.
BATCH_BYTES = 100_000

_FILE = "netlist.json.gz"
_KEY = "synthesis 1"  # counts up when what is kept changes


@dataclass(frozen=True)
class _Source:
    """A module before synthesis."""

    name: str
    text: str
    stub: str
    """The same without a body."""
    children: tuple[str, ...]


def run_synthesis(
    design: Design, target: Target, yosys: FullYosys, cache: Cache, progress: Progress
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
    sources = {source.name: source for source in _split(design.rtlil)}
    keys = {
        source.name: [
            *(_KEY, yosys.version, target.digest, source.text),
            *(sources[child].stub for child in source.children),
        ]
        for source in sources.values()
    }
    kept = {name: _read(folder) for name, key in keys.items() if (folder := cache.find(key))}
    missing = [source for name, source in sources.items() if name not in kept]
    if missing:
        _log.info("synthesizing %d modules for %s ...", len(missing), target.name)
    left = total = sum(len(source.text) for source in missing)
    pool = ThreadPoolExecutor(PROCESSES)
    try:
        runs = {
            pool.submit(_run_batch, batch, sources, target, yosys): batch
            for batch in _batches(missing)
        }
        for done in as_completed(runs):
            for name, data in done.result().items():
                kept[name] = data
                cache.get(keys[name], partial(_write, data), prune=False)
            left -= sum(len(source.text) for source in runs[done])
            progress(f"{len(missing)} modules for {target.name}", 1 - left / total)
    finally:
        pool.shutdown(cancel_futures=True)
    if missing:
        cache.prune(cache.max_bytes)
    return Netlist(design.name, {name: Module.from_json(name, kept[name]) for name in sources})


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


def _batches(sources: Sequence[_Source]) -> list[list[_Source]]:
    """Distribute modules over runs, so that the longest run begins first."""
    batches: list[list[_Source]] = []
    size = BATCH_BYTES
    for source in sorted(sources, key=lambda source: -len(source.text)):
        if size + len(source.text) > BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(source)
        size += len(source.text)
    return batches


def _run_batch(
    batch: Sequence[_Source], sources: dict[str, _Source], target: Target, yosys: FullYosys
) -> dict[str, Any]:
    """Synthesize some modules; return what is kept of each."""
    inside = {source.name for source in batch}
    outside = {child for source in batch for child in source.children} - inside
    # Yosys works on what a top module contains, and keeps unconnected cells when it is told to.
    top = "qkloom_synthesis"
    cells = "".join(
        f"  attribute \\keep 1\n  cell \\{name} \\cell_{index}\n  end\n"
        for index, name in enumerate(sorted(inside))
    )
    text = "".join(
        [
            *(sources[name].stub for name in sorted(outside)),
            *(sources[name].text for name in sorted(inside)),
            f"attribute \\top 1\nmodule \\{top}\n{cells}end\n",
        ]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "design.il").write_text(text)
        for name, content in target.files.items():
            (folder / name).write_bytes(content)
        commands = [command.format(top=top) for command in target.commands]
        commands = ["read_rtlil design.il", *commands, "write_json -selected netlist.json"]
        try:
            yosys.run(commands, cwd=folder, timeout=TIMEOUT_SECONDS, title="Synthesis")
        except ToolError as error:
            raise ToolError(f"{error}; {target.needs}" if target.needs else str(error)) from None
        try:
            made = json.loads((folder / "netlist.json").read_text())["modules"]
        except (OSError, ValueError, KeyError):
            raise ToolError(
                "Yosys wrote no netlist that can be read: no count is given; "
                "look for room in the folder of temporary files"
            ) from None
    if lost := inside.difference(made):
        raise ToolError(f"Yosys made nothing of {min(lost)}: no count is given")
    known = {*target.costs, *sources}
    return {name: reduced(name, made[name], known=known, target=target.name) for name in inside}


def _write(data: Any, folder: Path) -> None:
    (folder / _FILE).write_bytes(gzip.compress(json.dumps(data).encode(), 6, mtime=0))


def _read(folder: Path) -> Any:
    return json.loads(gzip.decompress((folder / _FILE).read_bytes()))
