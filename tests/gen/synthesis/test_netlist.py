import pytest

from qkloom.gen.synthesis.netlist import Cell, Module, Netlist, reduced
from qkloom.tb.errors import ToolError

RAW = {
    "ports": {
        "i": {"direction": "input", "bits": [2]},
        "o": {"direction": "output", "bits": [3, 4]},
    },
    "cells": {
        "$1": {
            "type": "LUT1",
            "parameters": {"INIT": "01"},
            "port_directions": {"I0": "input", "O": "output"},
            "connections": {"I0": [2], "O": [3]},
        },
        "scope": {"type": "$scopeinfo", "parameters": {}, "connections": {}},
    },
    "netnames": {
        "$abc$9": {"hide_name": 1, "bits": [3]},
        "i": {"hide_name": 0, "bits": [2]},
        "o": {"hide_name": 0, "bits": [3, 4]},
        "chosen": {"hide_name": 0, "bits": [3]},
    },
}


def test_reads_what_yosys_writes():
    module = Module.from_json("m", reduced("m", RAW, known={"LUT1"}, target="xcup"))
    assert module.inputs == {"i": [2]}
    assert module.outputs == {"o": [3, 4]}
    (cell,) = module.cells
    assert cell == Cell("$1", "LUT1", {"I0": [2], "O": [3]}, frozenset({"O"}), {"INIT": "01"})
    assert cell.parameter("INIT", 0) == 1
    assert cell.parameter("MORE", 7) == 7
    assert module.net_names == {2: "i", 3: "o[0]", 4: "o[1]"}


def test_unknown_cell():
    message = (
        r"^Synthesis for xcup left cell LUT1 \(\$1 in m\), of which the target has none: "
        "no count is given; choose another target$"
    )
    with pytest.raises(ToolError, match=message):
        reduced("m", RAW, known={"LUT2"}, target="xcup")


@pytest.mark.parametrize(
    "other",
    [
        [],
        {key: RAW[key] for key in ("ports", "netnames")},
        RAW | {"cells": []},
        RAW | {"cells": {"u": {"type": "LUT1"}}},
        RAW | {"cells": {"u": RAW["cells"]["$1"] | {"connections": {"I0": 2}}}},
        RAW | {"ports": {"i": 2}},
        RAW | {"netnames": {"i": {"hide_name": "no", "bits": []}}},
    ],
)
def test_another_way_of_writing(other):
    message = (
        r"^Yosys wrote no netlist of m that can be read \(\w+Error: .*\): no count is given; "
        "use another version of Yosys$"
    )
    with pytest.raises(ToolError, match=message):
        reduced("m", other, known={"LUT1"}, target="xcup")


def test_counts_every_instance():
    def module(name, *kinds):
        cells = [Cell(f"u{n}", kind, {}, frozenset(), {}) for n, kind in enumerate(kinds)]
        return Module(name, {}, {}, cells, {})

    netlist = Netlist(
        "top",
        {
            "leaf": module("leaf", "LUT2", "FDRE", "FDRE"),
            "row": module("row", "leaf", "leaf", "leaf", "LUT6"),
            "top": module("top", "row", "row", "leaf"),
        },
    )
    assert netlist.cells["top"] == {"LUT2": 7, "FDRE": 14, "LUT6": 2}
    assert netlist.cells["row"] == {"LUT2": 3, "FDRE": 6, "LUT6": 1}
