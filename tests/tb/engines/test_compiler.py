"""Which compiler is taken, and what is said when there is none or it fails."""

import importlib.util
import sys

import pytest

from qkloom.tb.engines import compiler as module
from qkloom.tb.engines.compiler import Compiler, find_compiler
from qkloom.tb.errors import ToolError


def install(folder, name, version="g++ (GNU) 12", code=0, works=True):
    """Make a program that prints a version and writes its last argument, or fails."""
    path = folder / name
    lines = ["#!/bin/sh", f"echo '{version}'", "echo 'x.cc:1: error: bad' >&2"]
    if works:
        lines += ["for last; do :; done", 'case "$last" in --*) ;; *) echo > "$last" ;; esac']
    path.write_text("\n".join([*lines, f"exit {code}\n"]))
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Leave nothing on the PATH but a folder, and no ziglang."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    monkeypatch.delenv("CXX", raising=False)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ziglang" else find_spec(name)
    )
    return tmp_path


def test_order(only, monkeypatch):
    install(only, "g++")
    assert find_compiler().name == "gcc"
    install(only, "clang++", "clang version 14")
    assert find_compiler().command == (str(only / "clang++"),)
    assert find_compiler().name == "clang"
    install(only, "my-g++", "my g++ (GNU) 13")
    monkeypatch.setenv("CXX", "my-g++ -m64")
    assert find_compiler().command == ("my-g++", "-m64")
    assert "my g++ (GNU) 13" in find_compiler().identity


def test_ziglang_comes_last(only, monkeypatch):
    monkeypatch.undo()
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("not checked: ziglang is missing; get `pip install ziglang`")
    monkeypatch.setenv("PATH", str(only))
    monkeypatch.delenv("CXX", raising=False)
    found = find_compiler()
    assert found.name == "zig"
    assert found.command[0] == sys.executable
    assert "-mcpu=baseline" in found.flags


def test_none(only):
    with pytest.raises(ToolError, match=r"^No C\+\+ compiler was found: install .* ziglang`$"):
        find_compiler()


def test_cxx_names_nothing(only, monkeypatch):
    install(only, "g++")
    monkeypatch.setenv("CXX", "missing++ -O3")
    with pytest.raises(
        ToolError, match=r"^CXX names a compiler that is not there: missing\+\+ -O3"
    ):
        find_compiler()


def test_cxx_is_a_relative_path(only, monkeypatch):
    install(only, "my-g++")
    monkeypatch.chdir(only)
    monkeypatch.setenv("CXX", "./my-g++ -m64")
    assert find_compiler().command == (str(only / "my-g++"), "-m64")


def test_cxx_is_no_compiler(only, monkeypatch):
    install(only, "broken", code=3)
    monkeypatch.setenv("CXX", "broken")
    with pytest.raises(ToolError, match=r"^broken is no C\+\+ compiler; "):
        find_compiler()


def test_one_that_compiles_nothing(only, monkeypatch):
    install(only, "lazy", works=False)
    monkeypatch.setenv("CXX", "lazy -m64")
    with pytest.raises(
        ToolError, match=r"^gcc \(lazy -m64\) reported success and compiled nothing; try another "
    ):
        find_compiler()


def test_broken_one_is_passed_over(only):
    install(only, "clang++", "clang version 14", works=False)
    with pytest.raises(ToolError, match=r"^clang \(.*clang\+\+\) reported success and compiled"):
        find_compiler()
    install(only, "g++")
    assert find_compiler().name == "gcc"


def test_title():
    assert Compiler("clang", ("/usr/bin/clang++-14",), "").title == "clang++-14"
    assert Compiler("zig", ("python", "-m", "ziglang", "c++"), "").title.startswith("zig (")


def test_first_error_is_told(tmp_path):
    failing = Compiler("gcc", (str(install(tmp_path, "g++", code=1)),), "")
    with pytest.raises(ToolError, match=r"cannot compile the simulator: x.cc:1: error: bad; try"):
        failing.run(["x.cc"], makes="x.o", cwd=tmp_path)


def test_compiler_that_went_away(tmp_path):
    with pytest.raises(ToolError, match=r"^Cannot start .*gone: .* ziglang`$"):
        Compiler("gcc", (str(tmp_path / "gone"),), "").run([], makes="x.o", cwd=tmp_path)


def test_stuck(tmp_path, monkeypatch):
    path = tmp_path / "slow"
    path.write_text("#!/bin/sh\nsleep 5\n")
    path.chmod(0o755)
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(ToolError, match=r"^gcc did not finish in 0.1 s$"):
        Compiler("gcc", (str(path),), "").run([], makes="x.o", cwd=tmp_path)


def test_zig_tells_equal_names_in_two_folders_apart(tmp_path):
    """Its cache once gave a design the simulator of another that was built at the same time."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("not checked: ziglang is missing; get `pip install ziglang`")
    zig = Compiler("zig", (sys.executable, "-P", "-m", "ziglang", "c++"), "")
    source = tmp_path / "source.cc"
    source.write_text('#include "value.h"\nextern "C" int value() { return VALUE; }\n')
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "value.h").write_text(f"#define VALUE {value}\n")
        zig.run(["-c", "-I.", str(source)], makes="value.o", cwd=folder)
    assert (tmp_path / "1/value.o").read_bytes() != (tmp_path / "2/value.o").read_bytes()
