"""The Verilog has names that people can read, and Yosys' refusals are errors of ours."""

import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from qkloom.gen.call import build_core
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.gen.lint import lint
from qkloom.gen.verilog import to_verilog
from qkloom.rtl.component import Component
from qkloom.tb.errors import ToolError

PAIR = data.StructLayout({"first": data.ArrayLayout(4, 2), "second": 4})


class Fields(Component):
    """Drives fields, one of which has a wire beside it with the name that it should get."""

    def __init__(self, *, taken: bool) -> None:
        super().__init__({"i": In(PAIR), "o": Out(PAIR)})
        self._taken = taken

    def elaborate(self, platform):
        m = Module()
        beside = Signal(4, name="o__second" if self._taken else "beside")
        m.d.sync += beside.eq(self.i.first[0] + self.i.second)
        m.d.comb += [
            self.o.first[0].eq(self.i.first[1] ^ beside),
            self.o.first[1].eq(self.i.first[0] & beside),
            self.o.second.eq(self.i.second | beside),
        ]
        return m


def wires(text):
    return set(re.findall(r"^ *(?:wire|reg) (?:\[\d+:0\] )?(\S+) ?[;=]", text, re.M))


def test_fields_have_plain_names():
    named = wires(emit(Fields(taken=False), verilog=True).verilog)
    assert {"o__first__0", "o__first__1", "o__second", "beside"} <= named
    assert not any("\\" in name for name in named)


def test_a_plain_name_is_given_once():
    named = wires(emit(Fields(taken=True), verilog=True).verilog)
    assert {"o__first__0", "o__first__1", "o__second", "\\o.second"} <= named


def test_no_name_of_a_chip_is_escaped_or_numbered():
    text = emit(build_core(read_chip("u280-tiny")), verilog=True).verilog
    assert re.findall(r".*(?:\\|\w\$).*", text) == []


class Remembering(Component):
    """A memory with contents at the start."""

    def __init__(self, *, depth: int, init: tuple[int, ...] = (), width: int = 40) -> None:
        super().__init__({"i": In(width), "address": In(range(max(depth, 2))), "o": Out(width)})
        self._depth, self._init, self._width = depth, init, width

    def elaborate(self, platform):
        m = Module()
        m.submodules.kept = kept = Memory(shape=self._width, depth=self._depth, init=self._init)
        w_port, r_port = kept.write_port(), kept.read_port(domain="comb")
        m.d.comb += [
            w_port.addr.eq(self.address),
            w_port.data.eq(self.i),
            w_port.en.eq(self.i != 0),
            r_port.addr.eq(self.address),
            self.o.eq(r_port.data),
        ]
        return m


@pytest.mark.parametrize("depth", [1, 2, 5, 64])
@pytest.mark.parametrize(("width", "zero"), [(1, "1'h0"), (32, "32'd0"), (40, "40'h0")])
def test_zeros_of_a_memory_are_a_loop(depth, width, zero):
    text = emit(Remembering(depth=depth, width=width), verilog=True).verilog
    assert (
        "  initial begin : kept_zeros\n"
        "    integer kept_row;\n"
        f"    for (kept_row = 0; kept_row < {depth}; kept_row = kept_row + 1)\n"
        f"      kept[kept_row] = {zero};\n"
        "  end\n"
    ) in text


@pytest.mark.parametrize("init", [(0, 0, 7), (7,), (0, 7, 0)])
def test_other_contents_stay(init):
    text = emit(Remembering(depth=5, init=init), verilog=True).verilog
    rows = re.findall(r"kept\[(\d)\] = 40'h(\w+);", text)
    assert [(int(row), int(value, 16)) for row, value in rows] == list(
        enumerate([*init, 0, 0, 0, 0][:5])
    )
    assert "kept_zeros" not in text


def test_both_front_ends_read_the_loop(require):
    require("verilator")
    require("pyslang")
    assert lint(emit(Remembering(depth=5), verilog=True)) == []


def test_what_yosys_refuses():
    with pytest.raises(ToolError, match=r"^Yosys failed: ERROR: .*line 1"):
        to_verilog("no RTLIL\n")
