"""How long emission takes and how much text it makes, beside plain Amaranth."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Fragment, Module, Signal, Value

from qkloom.gen.emit import emit
from qkloom.gen.lint import lint, ports_of
from qkloom.rtl.component import Component
from qkloom.rtl.matrix.stationary import MatrixUnit


class _Counting:
    """A platform that elaborates each distinct component once, and counts them."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def instantiate(self, component: Component, elaborate: Callable[[Any, Any], Any]) -> Any:
        key = type(component), tuple(component.parameters.items())
        if key in self.seen:
            return Module()
        self.seen.add(key)
        return elaborate(component, self)


def _generate(folder: Path, *arguments: str) -> tuple[float, str]:
    """Run ``qkloom generate`` in a process of its own; return its seconds and its Verilog."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "qkloom", "generate", *arguments, "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    (file,) = folder.glob("*.v")
    return seconds, file.read_text()


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of the Yosys runs that it waited for."""
    return sum(os.times()[:4])


def _plain(component: Component) -> str:
    """Return the Verilog of the component elaborated in place, by Amaranth alone."""
    values = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    return verilog.convert(component, ports=[v for v in values if isinstance(v, Signal)])


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    with tempfile.TemporaryDirectory() as name:
        size = ("--rows", "128", "--cols", "128")
        _, first = _generate(Path(name) / "first", "matrix", *size)
        seconds, text = _generate(Path(name) / "second", "matrix", *size)
        chip_seconds, chip = _generate(Path(name) / "chip", "u280")
        (chip_file,) = Path(name).glob("chip/*.v")
        models = chip_file.parent / "sim/primitives.v"
        models.write_text(ports_of(models.read_text()))  # of thousands, the ports suffice
        problems = lint(chip_file)
    counting = _Counting()
    Fragment.get(MatrixUnit(rows=128, cols=128), counting)
    modules = re.findall(r"^module ", text, re.M)
    what = "`qkloom generate matrix --rows 128 --cols 128`"
    yield {
        "name": "matrix 128x128, time",
        "value": seconds,
        "unit": "s",
        "asked": 5,
        "better": "less",
        "how": f"{what}, whole process, second run",
    }
    yield {
        "name": "matrix 128x128, Verilog",
        "value": len(text) / 1000,
        "unit": "kB",
        "asked": 300,
        "better": "less",
        "how": what,
    }
    yield {
        "name": "matrix 128x128, modules per distinct component",
        "value": len(modules) / len(counting.seen),
        "unit": "",
        "asked": 1,
        "better": "less",
        "how": f"{len(modules)} modules for {len(counting.seen)} (class, parameters)",
    }
    yield {
        "name": "matrix 128x128, files that differ from run to run",
        "value": int(first != text),
        "unit": "",
        "asked": 0,
        "better": "less",
        "how": "Verilog of two processes, byte by byte",
    }
    start = _cpu_seconds()
    shared_text = str(emit(MatrixUnit(rows=64, cols=64), verilog=True).verilog)
    shared_seconds = _cpu_seconds() - start
    start = _cpu_seconds()
    plain_text = _plain(MatrixUnit(rows=64, cols=64))
    plain_seconds = _cpu_seconds() - start
    yield {
        "name": "matrix 64x64, times faster than plain Amaranth",
        "value": plain_seconds / shared_seconds,
        "unit": "x",
        "asked": 20,
        "better": "more",
        "how": f"CPU: {shared_seconds:.2f} s; in place {plain_seconds:.1f} s",
    }
    yield {
        "name": "matrix 64x64, times smaller than plain Amaranth",
        "value": len(plain_text) / len(shared_text),
        "unit": "x",
        "asked": 20,
        "better": "more",
        "how": f"{len(shared_text) / 1000:.0f} kB; in place {len(plain_text) / 1000:.0f} kB",
    }
    yield {
        "name": "u280, time",
        "value": chip_seconds,
        "unit": "s",
        "asked": 20,
        "better": "less",
        "how": "`qkloom generate u280`, whole process",
    }
    yield {
        "name": "u280, Verilog",
        "value": len(chip) / 1000,
        "unit": "kB",
        "asked": None,
        "better": "less",
        "how": f"{len(re.findall(r'^module ', chip, re.M))} modules",
    }
    yield {
        "name": "u280, problems that Verilator or slang sees",
        "value": len(problems),
        "unit": "",
        "asked": 0,
        "better": "less",
        "how": "; ".join(problems[:3]) or "-Wall, waivers with reasons",
    }
