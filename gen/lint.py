"""Two Verilog front ends look at what was emitted."""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .. import platforms
from ..tb.design import Design
from ..tb.engines import find_verilator
from ..tb.errors import ToolError
from .verilog import to_verilog

__all__ = ["lint", "lint_with_slang", "lint_with_verilator", "ports_of"]

# A 128x128 array takes half a minute: Verilator looks at every element of it.
TIMEOUT_SECONDS = 600


def lint(source: Design | Path) -> list[str]:
    """Return the problems that Verilator (all warnings) and slang (errors) see; none is clean.

    What Verilator warns of in any Verilog from Amaranth and Yosys is waived, with its reasons, in
    ``platforms/waivers/verilator.vlt``.

    Parameters
    ----------
    source : Design or Path
        Emitted design, or Verilog file; beside it, its models of primitives, if there are any, as
        ``sim/primitives.v``.

    Raises
    ------
    ToolError
        When one of the two is missing or does not finish.
    """
    return [*lint_with_verilator(source), *lint_with_slang(source)]


def lint_with_verilator(source: Design | Path) -> list[str]:
    """Return the warnings and errors of ``verilator --lint-only -Wall``."""
    verilator = find_verilator()
    waivers = Path(*platforms.__path__) / "waivers/verilator.vlt"
    with tempfile.TemporaryDirectory(prefix="qkloom-") as folder:
        top = ["--top-module", source.name] if isinstance(source, Design) else []
        command = [str(verilator.binary), "--lint-only", "-Wall", *top, str(waivers)]
        try:
            done = subprocess.run(
                [*command, *map(str, _files(source, folder))],
                env=os.environ | {"VERILATOR_ROOT": str(verilator.root)},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"Verilator did not finish in {TIMEOUT_SECONDS} s") from None
    problems = [line for line in done.stderr.splitlines() if line.startswith("%")]
    if done.returncode and not problems:
        raise ToolError(f"Verilator failed with exit code {done.returncode}: {done.stderr}")
    # Its last line only counts the others.
    return [line.replace(f"{folder}/", "") for line in problems if "Exiting due to" not in line]


def lint_with_slang(source: Design | Path) -> list[str]:
    """Return the errors of slang, which follows the standard more closely than most tools."""
    try:
        from pyslang import DiagnosticEngine
        from pyslang.ast import Compilation
        from pyslang.syntax import SyntaxTree
    except ImportError:
        raise ToolError(
            "slang is missing or too old: `python -m pip install --upgrade pyslang`"
        ) from None
    with tempfile.TemporaryDirectory(prefix="qkloom-") as folder:
        compilation = Compilation()
        for file in _files(source, folder):
            tree = SyntaxTree.fromFile(str(file))
            compilation.addSyntaxTree(tree)
        manager = tree.sourceManager
        engine = DiagnosticEngine(manager)
        return [
            f"{_place(manager, d)}: error: {engine.formatMessage(d)}"
            for d in compilation.getAllDiagnostics()
            if d.isError()
        ]


def ports_of(models: str) -> str:
    """Return modules with nothing but their parameters and ports: enough to lint their users."""
    return re.sub(
        r"(^module .*?^\) *\(.*?^\);\n|^module .*?^\);\n).*?^endmodule",
        r"\1endmodule",
        models,
        flags=re.M | re.S,
    )


def _place(manager: Any, problem: Any) -> str:
    file = Path(manager.getFileName(problem.location)).name
    return f"{file}:{manager.getLineNumber(problem.location)}"


def _files(source: Design | Path, folder: str) -> list[Path]:
    """Return the Verilog files of ``source``, models of primitives first."""
    if isinstance(source, Path):
        models = source.parent / "sim/primitives.v"
        return [*([models] if models.is_file() else []), source]
    file, models = Path(folder) / f"{source.name}.v", Path(folder) / "primitives.v"
    file.write_text(source.verilog or to_verilog(source.rtlil), encoding="utf-8")
    if not source.primitives:
        return [file]
    models.write_text(source.primitives, encoding="utf-8")
    return [models, file]
