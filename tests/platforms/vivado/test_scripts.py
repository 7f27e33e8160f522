import re

import pytest

from qkloom.platforms.vivado import floorplan_xdc, spread_over_slrs, vivado_files

LANES = [f"core/lane_{number}" for number in range(4)]
RIGHT = dict(
    top="u280_tiny",
    sources=["u280_tiny.v", "more/parts.v"],
    clock_mhz=175,
    groups=spread_over_slrs(LANES),
    crossings=["core/crossing_*"],
    bench=["axi.sv", "testbench.sv"],
)
FILES = vivado_files(**RIGHT)
ROUTED = "    # of nets with routing errors.......... :           0 :\n"


@pytest.fixture
def folder(write):
    return write({**FILES, "u280_tiny.v": "", "more/parts.v": ""})


def test_files():
    assert list(FILES) == [
        "vivado/clock.xdc",
        "vivado/floorplan.xdc",
        "vivado/implement.tcl",
        "vivado/simulate.tcl",
    ]
    assert "vivado/simulate.tcl" not in vivado_files(**{**RIGHT, "bench": []})


class TestConstraints:
    def test_clock(self, folder, run_tcl):
        record = run_tcl(folder / "vivado/clock.xdc")
        assert not record.error
        assert record.calls == [
            ["get_ports", "ap_clk"],
            ["create_clock", "-name", "ap_clk", "-period", "5.714", ""],
        ]

    def test_floorplan(self, folder, run_tcl):
        record = run_tcl(folder / "vivado/floorplan.xdc", answers={"get_cells *": "cells"})
        assert not record.error
        assert record.of("create_pblock") == [["pblock_SLR0"], ["pblock_SLR1"], ["pblock_SLR2"]]
        assert record.of("resize_pblock") == [
            [f"pblock_SLR{number}", "-add", f"SLR{number}"] for number in range(3)
        ]
        cells = [call[0] for call in record.of("get_cells") if call[0] != "-hierarchical"]
        assert cells == LANES
        blocks = [call[0] for call in record.of("add_cells_to_pblock")]
        assert blocks == ["pblock_SLR0", "pblock_SLR1", "pblock_SLR1", "pblock_SLR2"]
        assert record.of("set_property") == [["USER_SLL_REG", "true", "cells"]]
        assert record.calls[-2] == [
            "get_cells",
            "-hierarchical",
            "-filter",
            "NAME =~ core/crossing_*",
        ]

    def test_no_loops(self):
        """XDC is not all of Tcl (UG903): no loops, conditions and procedures."""
        for path in ("vivado/clock.xdc", "vivado/floorplan.xdc"):
            assert not re.search(r"^\s*(foreach|for|if|while|proc)\b", FILES[path], re.MULTILINE)

    def test_spread(self):
        assert spread_over_slrs(list("abcdefg")) == {
            "SLR0": ["a", "b"],
            "SLR1": ["c", "d", "e"],
            "SLR2": ["f", "g"],
        }
        assert spread_over_slrs(["a"], n=1) == {"SLR0": ["a"]}
        with pytest.raises(ValueError, match=r"^SLRs must be 1 to 3, not 4$"):
            spread_over_slrs([], n=4)

    def test_none(self, write, run_tcl):
        text = floorplan_xdc({})
        folder = write({"none.xdc": text})
        assert not run_tcl(folder / "none.xdc").calls

    def test_errors(self):
        with pytest.raises(ValueError, match=r"^SLRs must be of SLR0, SLR1, SLR2, not 'SLR3'$"):
            floorplan_xdc({"SLR3": ["a"]})
        with pytest.raises(ValueError, match=r"^A cell must be a path as in core/lane_0, not 'a}'"):
            floorplan_xdc({"SLR0": ["a}"]})


class TestImplement:
    answers = {"report_route_status -return_string": ROUTED, "get_property SLACK *": "0.125"}

    def test_calls(self, folder, run_tcl):
        record = run_tcl(folder / "vivado/implement.tcl", answers=self.answers)
        assert not record.error
        assert record.printed == "PASS: u280_tiny is routed, 0.125 ns before the clock\n"
        steps = ("read_verilog", "read_xdc", "synth_design", "opt_design", "place_design")
        assert record.order(*steps, "phys_opt_design", "route_design", "write_checkpoint") == [
            "read_verilog",
            "read_verilog",
            "read_xdc",
            "synth_design",
            "read_xdc",
            "write_checkpoint",
            "opt_design",
            "place_design",
            "phys_opt_design",
            "write_checkpoint",
            "route_design",
            "phys_opt_design",
            "write_checkpoint",
        ]
        read = [call[-1] for call in record.of("read_verilog") + record.of("read_xdc")]
        names = ["u280_tiny.v", "more/parts.v", "vivado/clock.xdc", "vivado/floorplan.xdc"]
        assert read == [str(folder / name) for name in names]
        assert all((folder / name).exists() for name in names)
        (synth,) = record.of("synth_design")
        assert synth[:6] == [
            "-top",
            "u280_tiny",
            "-part",
            "xcu280-fsvh2892-2L-e",
            "-mode",
            "out_of_context",
        ]
        reports = {call[-1] for name in ("report_utilization", "report_timing_summary")
                   for call in record.of(name)}  # fmt: skip
        assert reports == {
            f"u280_tiny_{stage}_{report}.rpt"
            for stage in ("synth", "place", "route")
            for report in ("utilization", "utilization_hierarchical", "timing")
        }
        assert record.of("write_verilog") == [["-force", "-mode", "funcsim", "u280_tiny_route.v"]]

    def test_too_slow(self, folder, run_tcl):
        answers = {**self.answers, "get_property SLACK *": "-0.25"}
        record = run_tcl(folder / "vivado/implement.tcl", answers=answers)
        assert record.error == "FAIL: the slowest path of u280_tiny misses the clock by 0.25 ns"

    def test_too_fast(self, folder, run_tcl):
        fast = {"get_timing_paths -delay_type min": "fast", "get_property SLACK fast": "-0.01"}
        record = run_tcl(folder / "vivado/implement.tcl", answers={**fast, **self.answers})
        assert record.error == (
            "FAIL: the fastest path of u280_tiny comes 0.01 ns too early, "
            "see u280_tiny_route_timing.rpt"
        )

    @pytest.mark.parametrize("status", ["", ROUTED.replace(" 0 ", " 7 ")])
    def test_not_routed(self, folder, run_tcl, status):
        answers = {**self.answers, "report_route_status -return_string": status}
        record = run_tcl(folder / "vivado/implement.tcl", answers=answers)
        assert record.error == (
            "FAIL: not all nets of u280_tiny are routed, see u280_tiny_route_status.rpt"
        )

    @pytest.mark.parametrize("script", ["implement.tcl", "simulate.tcl"])
    def test_version(self, folder, run_tcl, script):
        record = run_tcl(folder / "vivado" / script, version="2020.1")
        assert record.error == "Vivado must be 2020.2 or newer, not 2020.1"
        record = run_tcl(folder / "vivado" / script, version="")
        assert record.error.startswith("This script must be run by Vivado 2020.2 or newer, ")


class TestSimulate:
    answers = {"exec *xsim *": "noise\nPASS: u280_tiny: 2 calls, 77 words are right\n"}

    @pytest.fixture
    def simulate(self, folder, run_tcl):
        (folder / "sim").mkdir()

        def run(*what, answers=self.answers):
            script = folder / "vivado/simulate.tcl"
            return run_tcl(script, argv=what, replaced=("exec",), answers=answers)

        return run

    def test_source(self, simulate, folder):
        record = simulate("source")
        assert not record.error
        compiles_bench, compiles, elaborates, runs = record.of("exec")
        bench = [str(folder / "sim" / name) for name in ("axi.sv", "testbench.sv")]
        assert compiles_bench == ["-ignorestderr", "xvlog", "-sv", *bench, ">@stdout"]
        assert compiles == [
            "-ignorestderr",
            "xvlog",
            *(str(folder / name) for name in ("u280_tiny.v", "more/parts.v")),
            "/vivado/data/verilog/src/glbl.v",
            ">@stdout",
        ]
        assert elaborates[1] == "xelab"
        assert "unisims_ver" in elaborates
        assert elaborates[elaborates.index("-timescale") + 1] == "1ns/1ps"
        assert elaborates[-3:] == ["testbench", "glbl", ">@stdout"]
        assert runs == ["-ignorestderr", "xsim", "bench", "-runall"]

    def test_netlist(self, simulate, folder, tmp_path):
        record = simulate("route")
        assert record.error == (
            "There must be u280_tiny_route.v in this folder: run implement.tcl here first"
        )
        (tmp_path / "work/u280_tiny_route.v").write_text("")
        record = simulate("route")
        assert not record.error
        bench, compiles, *others = record.of("exec")
        assert compiles == [
            "-ignorestderr",
            "xvlog",
            str(tmp_path / "work/u280_tiny_route.v"),
            "/vivado/data/verilog/src/glbl.v",
            ">@stdout",
        ]
        # All else is as with the source.
        assert [bench, *others] == [
            call for call in simulate("source").of("exec") if call[2] != str(folder / "u280_tiny.v")
        ]

    @pytest.mark.parametrize("printed", ["", "FAIL: not done\n", "PASS: x\nFAIL: y\n"])
    def test_fails(self, simulate, printed):
        record = simulate("source", answers={"exec *xsim *": printed})
        assert record.error == "FAIL: u280_tiny (source) does not do what the testbench expects"

    def test_nothing_said(self, simulate):
        record = simulate()
        assert record.error == "Say what to simulate: -tclargs source, or -tclargs route"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "a-b"}, "Top module must be an identifier, not 'a-b'"),
        ({"clock": "1"}, "Clock port must be an identifier, not '1'"),
        ({"clock_mhz": 0}, "Clock frequency must be above 0 MHz, not 0"),
        ({"bench_top": "x y"}, "Testbench must be an identifier, not 'x y'"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        vivado_files(**{**RIGHT, **change})
