import re
import sys

import pytest

from qkloom.platforms.ulx3s.constraints import PINS, constraints
from qkloom.platforms.ulx3s.top import Ulx3sSelfTest
from qkloom.tb.errors import ToolError


@pytest.fixture
def text(require):
    require("boards")
    return constraints()


def test_every_bit_of_every_port_has_a_pin_of_its_own(text):
    bits = {
        f"{name}[{bit}]" if member.shape > 1 else name
        for name, member in Ulx3sSelfTest().signature.members.items()
        for bit in range(member.shape)
    }
    located = re.findall(r'^LOCATE COMP "(\S+)" SITE "([A-Z]+[0-9]+)";$', text, re.M)
    assert {port for port, _ in located} == bits == set(PINS)
    assert len({pin for _, pin in located}) == len(located) == 12
    assert [port for port, _ in located] == re.findall(r'^IOBUF PORT "(\S+)" ', text, re.M)


@pytest.mark.parametrize(
    "line",
    [
        'LOCATE COMP "clk25" SITE "G2";',
        'FREQUENCY PORT "clk25" 25000000 HZ;',
        'LOCATE COMP "led_running" SITE "B2";',
        'LOCATE COMP "led_calls[4]" SITE "H3";',
        'IOBUF PORT "restart" IO_TYPE=LVCMOS33 PULLMODE=DOWN;',
        'LOCATE COMP "esp32_gpio0" SITE "L2";',
        'IOBUF PORT "esp32_gpio0" IO_TYPE=LVCMOS33 DRIVE=4 PULLMODE=UP;',
    ],
)
def test_lines(text, line):
    assert line in text.splitlines()


def test_without_amaranth_boards(monkeypatch):
    monkeypatch.setitem(sys.modules, "amaranth_boards.ulx3s", None)
    with pytest.raises(ToolError, match=r"^The pins of the ULX3S come from amaranth-boards: `py"):
        constraints()
