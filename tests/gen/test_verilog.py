"""The Verilog has names that people can read, and Yosys' refusals are errors of ours."""

import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from qkloom.gen.call import build_core
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
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


def test_what_yosys_refuses():
    with pytest.raises(ToolError, match=r"^Yosys failed: ERROR: .*line 1"):
        to_verilog("no RTLIL\n")
