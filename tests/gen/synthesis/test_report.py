"""The table of a design that nobody synthesized."""

from pathlib import Path

from qkloom.gen.synthesis import Synthesis
from qkloom.gen.synthesis.blocks import find_blocks
from qkloom.gen.synthesis.netlist import Cell, Module, Netlist
from qkloom.gen.synthesis.report import describe, tabulate
from qkloom.gen.synthesis.target import COLUMNS, find_target
from qkloom.gen.synthesis.timing import Path as TimingPath
from qkloom.gen.synthesis.timing import Timing
from qkloom.gen.synthesis.vivado import read_utilization

HERE = Path(__file__).parent


def module(name, *cells):
    named = [Cell(name, kind, {}, frozenset(), {}) for name, kind in cells]
    return Module(name, {}, {}, named, {})


NETLIST = Netlist(
    "chip",
    {
        "chip": module("chip", ("lane_0", "lane"), ("lane_1", "lane")),
        "lane": module("lane", ("matrix", "array"), *[(f"l{k}", "LUT6") for k in range(30)]),
        "array": module("array", *[(f"l{k}", "LUT6") for k in range(20)], ("f", "FDRE")),
    },
)


def synthesis(**facts):
    target = find_target("xcup")
    known = {
        "name": "chip",
        "target": "xcup",
        "yosys": "0.70",
        "seconds": 1.5,
        "columns": COLUMNS,
        "total": target.count(NETLIST.cells["chip"]),
        "blocks": find_blocks(NETLIST, target),
        "macs": None,
        "timing": None,
        "notes": ["a note"],
    }
    return Synthesis(**{**known, **facts})


def test_blocks_beside_vivado():
    both = synthesis(vivado=read_utilization(HERE / "hierarchy.rpt"))
    _, rows = tabulate(both)
    assert [row[:5] for row in rows[:6]] == [
        ["lane_0..1", "2", "100", "0", "2"],
        ["| Vivado", "", "90", "30", "480"],
        ["  matrix", "2", "40", "0", "2"],
        ["  | Vivado", "", "50", "20", "200"],
        ["  rest", "", "60", "0", "0"],
        ["total", "", "100", "0", "2"],
    ]
    assert rows[6] == ["| Vivado", "", "100", "30", "500", "-", "10", "1.50", "0"]
    assert rows[7][:5] == ["| Vivado / Yosys", "", "1.00", "-", "250.00"]
    lanes = both.as_dict()["blocks"][0]
    assert (lanes["path"], lanes["vivado"]["dsp"]) == ("lane_0", 10)


def test_without_macs():
    titles = [row[0] for row in tabulate(synthesis())[1]]
    assert titles[-3:] == ["total", "share of the U280", "share of the user's part"]


def test_lines():
    timing = Timing(
        paths={
            "registers": TimingPath(5, 1, 0, ["a", "b"]),
            "through": TimingPath(0, 0, 0, []),
        },
        fan_out=129,
        fan_out_net="lane_0.go",
        register_fan_out=300,
        register_fan_out_net="lane_0.word",
        input_fan_out=12,
        input_fan_out_net="i_key__valid",
        reset_fan_out=7,
        dsp_registers={"AREG 1, BREG 0, MREG 1, PREG 1": 4},
        unregistered_dsps=4,
    )
    assert list(describe(synthesis(timing=timing))) == [
        "chip for xcup, Yosys 0.70, 1.5 s",
        "a note",
        "timing proxy, without placement: no clock frequency follows from it",
        "  longest path between registers: 5 LUTs, 1 carry bit (rule: at most 4 and 32) BROKEN",
        "    a > b",
        "  longest path from an input to an output: a wire",
        "  largest fan-out behind logic: 129 pins (rule: at most 128) BROKEN",
        "    lane_0.go",
        (
            "  largest fan-out of a register: 300 pins (no rule: registers are easily doubled); "
            "the reset has 7"
        ),
        "    lane_0.word",
        "  largest fan-out of an input: 12 pins, i_key__valid",
        "  registers of 4 DSPs: AREG 1, BREG 0, MREG 1, PREG 1 (rule: one where data pass) BROKEN",
    ]
