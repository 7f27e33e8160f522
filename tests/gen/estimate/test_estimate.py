import gc
import json
import re
import subprocess
import sys
import warnings

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from qkloom.gen.chip import read_chip
from qkloom.gen.cli import main
from qkloom.gen.estimate import estimate
from qkloom.rtl.component import Component
from qkloom.rtl.core import Core
from qkloom.rtl.delay import Delay
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.rtl.matrix.booth import BoothProduct
from qkloom.rtl.matrix.lut import LutMatrixUnit


class Unknown(Component):
    """A sum, and a part that points of the fit have."""

    def __init__(self, *, width):
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        total = Signal.like(self.o)
        m.submodules.delay = delay = Delay(width=len(self.i), cycles=3)
        m.d.sync += total.eq(total + self.i)
        m.d.comb += [delay.i.eq(total), self.o.eq(delay.o)]
        return m


@pytest.fixture
def run(capsys):
    def run(*words, code=0):
        try:
            main(list(words))
        except SystemExit as end:
            assert (end.code or 0) == code
        return capsys.readouterr()

    return run


def test_unit(run):
    words = ["estimate", "matrix", "--kind", "dsp", "--rows", "8", "--cols", "8"]
    lines = run(*words).out.splitlines()
    assert lines[0].split() == ["n", "LUT", "LUTRAM", "FF", "CARRY8", "DSP", "BRAM", "URAM"]
    assert any(line.startswith("per MAC, of 64 ") for line in lines)
    assert any("points that were not fitted, median and worst: LUT " in line for line in lines)
    facts = json.loads(run(*words, "--json").out)
    assert facts["estimated"] is True
    assert facts["total"]["dsp"] == 32
    assert facts["per_mac"]["dsp"] == 0.5
    assert facts["unfitted"] == []
    for column in ("lut", "ff", "carry8", "lutram"):
        assert facts["errors"][column]["median"] <= 0.05


def test_chip(run):
    facts = json.loads(run("estimate", "u280-tiny", "--json").out)
    assert facts["name"] == "u280_tiny"
    total = facts["total"]
    tops = [block for block in facts["blocks"] if block["depth"] == 0]
    for column, n in total.items():
        assert sum(block[column] for block in tops) == pytest.approx(n)
    names = {block["name"] for block in facts["blocks"]}
    assert {"matrix", "row_unit", "normalizer"} <= names
    # What is around the lanes has lines, piece by piece.
    assert {"engine", "control", "intake", "overlap", "supervisor"} <= {b["path"] for b in tops}
    engine = {block["path"] for block in facts["blocks"] if block["depth"] == 1}
    assert {f"engine.{name}" for name in ("core", "sequencer", "q", "k", "o")} <= engine
    assert facts["macs"] == 2 * 64


def test_chip_is_its_kernel(run):
    chip = read_chip("u280-tiny")
    facts = json.loads(run("estimate", "u280-tiny", "--json").out)
    assert facts["total"] == estimate(Kernel(**chip.kernel_parameters)).total
    core = next(block for block in facts["blocks"] if block["path"] == "engine.core")
    alone = estimate(Core(lanes=chip.matrices, **chip.lane_parameters)).total
    assert {column: core[column] for column in alone} == alone


def test_parts_of_a_core_have_no_lines_for_being_small():
    chip = read_chip("u280-tiny")
    figures = estimate(Core(lanes=chip.matrices, **chip.lane_parameters))
    names = {block.name for block in figures.blocks if block.depth == 0}
    assert {"lane_0", "lane_1", "rest"} <= names
    assert "merge" not in names


def test_blocks_add_up_to_their_parents():
    figures = estimate(LutMatrixUnit(rows=8, cols=4))
    (band,) = (block for block in figures.blocks if block.path == "band_0")
    inner = [block for block in figures.blocks if block.path.count(".") == 1]
    inner = [block for block in inner if block.path.startswith("band_0.")]
    assert sum(block.counts["lut"] for block in inner) == band.counts["lut"]


def test_what_was_not_fitted_is_named():
    figures = estimate(Unknown(width=8))
    assert figures.unfitted == ("Unknown",)
    where = next(k for k, note in enumerate(figures.notes) if "; error of points " in note)
    assert re.fullmatch(
        "these errors do not cover Unknown, of which no point has any: their logic, [1-9]\\S* of "
        "the LUT, is estimated as other components' is",
        figures.notes[where + 1],
    )


def test_of_primitives_nothing_is_estimated():
    assert estimate(BoothProduct()).unfitted == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["estimate", "queue"], "--shape must be given, for example queue --shape"),
        (["estimate", "u280", "--rows", "8"], "--rows is not an option of a chip, which takes"),
        (["crossover", "--clock", "0"], "--clock must be a finite number above 0 MHz, not 0"),
        (["crossover", "--clock", "inf"], "--clock must be a finite number above 0 MHz, not inf"),
        (["crossover", "--luts", "0"], "--luts must be a positive integer, not 0"),
    ],
)
def test_refuses(run, words, message):
    assert run(*words, code=2).err.startswith(f"qkloom: {message}")


@pytest.mark.filterwarnings("error::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("words", [["u280"], ["booth-product"]])
def test_no_component_is_called_unused(run, words):
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # what other tests have left
    assert run("estimate", *words).err == ""
    gc.collect()


@pytest.mark.parametrize("words", [["queue", "--shape", "8", "--depth", "4"], ["u280-tiny"]])
def test_neither_numpy_nor_an_engine_is_needed(words):
    """Both take longer to import than the estimate of a small unit takes."""
    code = (
        "import sys; from qkloom.gen.cli import main\n"
        f"try: main(['estimate', *{words}])\n"
        "except SystemExit: pass\n"
        "print({'numpy', 'qkloom.tb.engines'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"
