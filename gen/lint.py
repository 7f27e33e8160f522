"""Two Verilog front ends look at what was emitted."""

import os
import subprocess
import tempfile
from pathlib import Path

from .. import platforms
from ..tb.design import Design
from ..tb.engines import find_verilator
from ..tb.errors import ToolError
from .verilog import to_verilog

__all__ = ["lint", "lint_with_slang", "lint_with_verilator"]

# A 128x128 array takes half a minute: Verilator looks at every element of it.
TIMEOUT_SECONDS = 600


def lint(source: Design | Path) -> list[str]:
    """Return the problems that Verilator (all warnings) and slang (errors) see; none is clean.

    What Verilator warns of in any Verilog from Amaranth and Yosys is waived, with its reasons, in
    ``platforms/waivers/verilator.vlt``.

    Parameters
    ----------
    source : Design or Path
        Emitted design, or Verilog file.

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
                [*command, str(_file(source, folder))],
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
        tree = SyntaxTree.fromFile(str(_file(source, folder)))
        compilation = Compilation()
        compilation.addSyntaxTree(tree)
        manager = tree.sourceManager
        engine = DiagnosticEngine(manager)
        return [
            f"{source.name}:{manager.getLineNumber(d.location)}: error: {engine.formatMessage(d)}"
            for d in compilation.getAllDiagnostics()
            if d.isError()
        ]


def _file(source: Design | Path, folder: str) -> Path:
    """Return a Verilog file with ``source`` in it."""
    if isinstance(source, Path):
        return source
    file = Path(folder) / f"{source.name}.v"
    file.write_text(source.verilog or to_verilog(source.rtlil), encoding="utf-8")
    return file
