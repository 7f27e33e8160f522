"""Tcl scripts of vendors' tools, run with recorders in place of the vendors' commands."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

# Every command that Tcl does not know is written down, a line each, its words in hexadecimal. It
# answers as the first pattern of `answers` says that matches it.
_RECORDER = r"""
encoding system utf-8
set record_log [open calls.txt w]
proc unknown {args} {
    global record_log answers
    set words [lmap word $args {binary encode hex [encoding convertto utf-8 $word]}]
    puts $record_log [join $words ,]
    foreach {pattern answer} $answers {
        if {[string match $pattern [join $args " "]]} {
            return $answer
        }
    }
    return ""
}
if {$version ne ""} {
    proc version {args} { global version; return $version }
}
foreach command $replaced {
    rename $command {}
}
set failed [catch {source $script} message]
close $record_log
if {$failed} {
    puts stderr $message
}
"""


@dataclass(frozen=True)
class Recorded:
    """What a script did: commands that are not Tcl's, what it printed, and how it failed."""

    calls: list[list[str]]
    printed: str
    error: str

    def of(self, command: str) -> list[list[str]]:
        return [call[1:] for call in self.calls if call[0] == command]

    def order(self, *commands: str) -> list[str]:
        return [call[0] for call in self.calls if call[0] in commands]


@pytest.fixture
def run_tcl(require, tmp_path: Path) -> Callable[..., Recorded]:
    """Return a function that runs a script, in a folder of its own, and returns its record."""
    require("tcl")

    def run(
        script: Path,
        *,
        answers: Mapping[str, str] | None = None,
        version: str = "2020.2",
        argv: tuple[str, ...] = (),
        replaced: tuple[str, ...] = (),
    ) -> Recorded:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        pairs = " ".join(f"{{{a}}} {{{b}}}" for a, b in (answers or {}).items())
        settings = {
            "answers": pairs,
            "version": version,
            "script": str(script),
            "argv": " ".join(argv),
            "replaced": " ".join(replaced),
        }
        lines = [f"set {name} {{{value}}}" for name, value in settings.items()]
        prelude = work / "record.tcl"
        prelude.write_text("\n".join([*lines, _RECORDER]))
        shell = shutil.which("tclsh")
        by_python = "import tkinter, sys; tkinter.Tcl().eval('source {' + sys.argv[1] + '}')"
        command = [shell] if shell else [sys.executable, "-c", by_python]
        ended = subprocess.run(
            [*command, str(prelude)],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=60,
            env={"XILINX_VIVADO": "/vivado"},
        )
        calls = [
            [bytes.fromhex(word).decode() for word in line.split(",")]
            for line in (work / "calls.txt").read_text().splitlines()
        ]
        assert not ended.returncode, ended.stderr
        return Recorded(calls, ended.stdout, ended.stderr.strip())

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Return a function that writes files by path, and returns their folder."""

    def write_files(files: Mapping[str, str]) -> Path:
        folder = tmp_path / "out"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return write_files
