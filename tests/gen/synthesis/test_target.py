from pathlib import Path

import pytest

from qkloom.gen.synthesis.target import CARD, COLUMNS, TARGETS, USER, find_target
from qkloom.tb.tensors import InputError

CELLS = Path(__file__).parent / "cells.lib"


def test_costs():
    cells = {"LUT3": 5, "LUT6_2": 2, "RAM32M16": 3, "SRL16E": 1, "FDRE": 4, "CARRY4": 3, "MUXF7": 9}
    cells |= {"CARRY8": 1, "DSP48E2": 2, "RAMB36E2": 1, "RAMB18E2": 3, "URAM288": 1, "INV": 1}
    assert find_target("xcup").count(cells) == {
        "lut": 5 + 2 + 24 + 1 + 1,
        "lutram": 25,
        "ff": 4,
        "carry8": 2.5,
        "dsp": 2,
        "bram36": 2.5,
        "uram": 1,
    }


def test_every_fpga_counts_the_same_columns():
    for target in TARGETS.values():
        assert target.columns == COLUMNS
        assert {column for cost in target.costs.values() for column in cost} <= set(COLUMNS)
    assert set(CARD) == set(COLUMNS) > set(USER)


def test_only_ultrascale_has_structures():
    assert [name for name, target in TARGETS.items() if target.platform] == ["xcup"]
    assert [name for name, target in TARGETS.items() if target.has_timing] == ["xcup", "xc7"]


def test_liberty():
    target = find_target(f"liberty:{CELLS}")
    assert target.count({"NAND2": 3, "DFF": 2}) == {"cells": 5, "area": 12.5}
    assert target.digest != find_target("xcup").digest


def test_digest_depends_on_the_library(tmp_path):
    other = tmp_path / "cells.lib"
    other.write_text(CELLS.read_text() + "\n")
    assert find_target(f"liberty:{other}").digest != find_target(f"liberty:{CELLS}").digest


@pytest.mark.parametrize(
    ("name", "said"),
    [("xcupp", "'xcupp' (did you mean xcup?)"), ("liberty", "'liberty'"), ("", "''")],
)
def test_unknown(name, said):
    with pytest.raises(InputError) as caught:
        find_target(name)
    rule = "--target must be one of xcup, xc7, ecp5, ice40, liberty:FILE, not "
    assert str(caught.value).startswith(rule + said)


def test_target_by_its_other_name():
    assert find_target("ultrascale") is find_target("xcup")
