"""The parts of a design that go to Yosys, and what comes back; with a Yosys of our own."""

import sys

import pytest

from qkloom.gen.emit import emit
from qkloom.gen.synthesis import run
from qkloom.gen.synthesis.run import run_synthesis
from qkloom.gen.synthesis.target import find_target
from qkloom.gen.units import find_unit
from qkloom.tb.engines.cache import Cache
from qkloom.tb.errors import ToolError
from qkloom.tb.yosys import FullYosys

# Makes a LUT of every module of the design that it is given, and notes that it was run.
FAKE = """
import json, os, re, sys
text = open("design.il").read()
names = [n for n in re.findall(r"^module .(\\S+)", text, re.M) if n not in {left_out!r}]
cell = {{"type": {kind!r}, "parameters": {{}}, "port_directions": {{}}, "connections": {{}}}}
module = {{"ports": {{}}, "cells": {{"u": cell}}, "netnames": {{}}}}
json.dump({{"modules": {{n: module for n in names}}}}, open("netlist.json", "w"))
open(os.path.join({log!r}, str(os.getpid())), "w").write(text)
"""

DESIGN = emit(find_unit("matrix").build({"rows": "2", "cols": "2"}))
TARGET = find_target("xcup")


class Fake:
    """A Yosys that makes the same of everything."""

    def __init__(self, folder, kind="LUT2", left_out=()):
        self._folder = folder
        program = folder / "fake.py"
        program.write_text(FAKE.format(kind=kind, left_out=left_out, log=str(folder / "log")))
        (folder / "log").mkdir()
        self.yosys = FullYosys((sys.executable, str(program)), "1.0")

    @property
    def texts(self):
        return [file.read_text() for file in (self._folder / "log").iterdir()]


def synthesize(yosys, folder, told=None):
    def tell(step, share):
        if told is not None:
            told.append((step, share))

    return run_synthesis(DESIGN, TARGET, yosys, Cache(folder / "cache"), tell)


def test_every_module_once(tmp_path):
    fake, told = Fake(tmp_path), []
    netlist = synthesize(fake.yosys, tmp_path, told)
    names = set(netlist.modules)
    assert netlist.top == DESIGN.name in names
    assert len(names) > 3
    (text,) = fake.texts
    for name in names:
        assert text.count(f"module \\{name}\n") == 1
    assert "\\x[" not in text
    title = f"{len(names)} modules for xcup"
    assert told == [(title, 0.0), (title, 1.0)]


def test_arrays_of_wires_get_other_names(tmp_path):
    assert "\\i__payload.row[0]" in DESIGN.rtlil
    fake = Fake(tmp_path)
    synthesize(fake.yosys, tmp_path)
    (text,) = fake.texts
    assert "\\i__payload.row.0" in text
    assert "\\i__payload.row[" not in text


def test_kept_modules_are_not_synthesized_again(tmp_path):
    fake = Fake(tmp_path)
    first = synthesize(fake.yosys, tmp_path)
    second = synthesize(fake.yosys, tmp_path)
    assert first == second
    assert len(fake.texts) == 1


def test_another_version_of_the_tool_is_another_result(tmp_path):
    fake = Fake(tmp_path)
    synthesize(fake.yosys, tmp_path)
    synthesize(FullYosys(fake.yosys.command, "1.1"), tmp_path)
    assert len(fake.texts) == 2


def test_children_elsewhere_are_black_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LARGE_BYTES", 1)
    fake = Fake(tmp_path)
    netlist = synthesize(fake.yosys, tmp_path)
    assert len(fake.texts) == len(netlist.modules)
    (text,) = (text for text in fake.texts if f"cell \\{DESIGN.name} " in text)
    for name in set(netlist.modules) - {DESIGN.name}:
        if f"  cell \\{name} " in text:
            assert f"attribute \\blackbox 1\nmodule \\{name}\n  wire" in text


def test_unknown_cell(tmp_path):
    message = (
        r"^Synthesis for xcup left cell \$_DLATCH_P_ \(u in \w+\), of which the target has none"
    )
    with pytest.raises(ToolError, match=message):
        synthesize(Fake(tmp_path, kind="$_DLATCH_P_").yosys, tmp_path)


def test_lost_module(tmp_path):
    message = rf"^Yosys made nothing of {DESIGN.name}: no count is given$"
    with pytest.raises(ToolError, match=message):
        synthesize(Fake(tmp_path, left_out=(DESIGN.name,)).yosys, tmp_path)


def test_failure_keeps_nothing(tmp_path):
    program = tmp_path / "fails.py"
    program.write_text("import sys; sys.exit('ERROR: out of memory')")
    yosys = FullYosys((sys.executable, str(program)), "1.0")
    with pytest.raises(ToolError, match=r"^Yosys failed: ERROR: out of memory$"):
        synthesize(yosys, tmp_path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "written", [None, b"no json", b"[]", b"{}", b'{"modules": 1}', b'{"modules": ["a"]}', b"\xff"]
)
def test_no_netlist(tmp_path, written):
    program = "pass" if written is None else f"open('netlist.json', 'wb').write({written!r})"
    yosys = FullYosys((sys.executable, "-c", program), "1.0")
    with pytest.raises(ToolError, match=r"^Yosys wrote no netlist that can be read: no count is"):
        synthesize(yosys, tmp_path)


def test_runs_depend_on_the_design_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "BATCH_BYTES", 4000)
    monkeypatch.setattr(run, "LARGE_BYTES", 4000)
    fake = Fake(tmp_path)
    synthesize(fake.yosys, tmp_path)
    texts = sorted(fake.texts)
    assert len(texts) > 2
    Cache(tmp_path / "cache").prune(1)
    synthesize(fake.yosys, tmp_path)
    assert sorted(fake.texts) == sorted([*texts, *texts])


def test_damaged_cache(tmp_path):
    fake = Fake(tmp_path)
    synthesize(fake.yosys, tmp_path)
    (file,) = (tmp_path / "cache").glob("*/netlist.json.gz")
    file.write_bytes(b"nothing")
    message = r"netlist\.json\.gz cannot be read: .*; empty the cache by `qkloom doctor --prune`$"
    with pytest.raises(ToolError, match=message):
        synthesize(fake.yosys, tmp_path)
