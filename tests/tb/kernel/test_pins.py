"""Which AXI ports a kernel has."""

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Lite, AXI4Read, AXI4Write, bus_pins
from qkloom.rtl.component import Component
from qkloom.tb.kernel.pins import BUS, find_pins


class Empty(Component):
    def __init__(self, *, two=False, level=False, data_width=32):
        members = {
            **bus_pins("m_axi_out", AXI4Write(data_width=64, id_width=3)),
            **bus_pins("m00_axi", AXI4Read(data_width=256)),
            **bus_pins("s_axi_control", AXI4Lite(address_width=12, data_width=data_width).flip()),
            "busy": Out(1),
        }
        if two:
            members |= bus_pins("s_axi", AXI4Lite(address_width=12).flip())
        if level:
            members["level"] = In(3)
        super().__init__(members)

    def elaborate(self, platform):
        return Module()


def test_copier(copier, vendors_copier):
    for design in copier, vendors_copier:
        pins = find_pins(design)
        assert [bus.name for bus in pins.managers] == ["m00_axi", "m01_axi"]
        assert pins.control.name == "s_axi_control"
        assert pins.interrupt
    assert pins.managers[0].bytes == 64
    assert pins.managers[0].id_mask == 3
    assert tuple(pins.managers[0].widths) == BUS


def test_halves():
    pins = find_pins(emit(Empty()))
    assert [bus.name for bus in pins.managers] == ["m00_axi", "m_axi_out"]
    reads, writes = pins.managers
    assert (reads.bytes, reads.id_mask, "awaddr" in reads.widths) == (32, 1, False)
    assert (writes.bytes, writes.id_mask, "araddr" in writes.widths) == (8, 7, False)
    assert not pins.interrupt


def test_one_host_only():
    message = r"^A kernel must have one port to its host, and empty_two has s_axi, s_axi_control$"
    with pytest.raises(ValueError, match=message):
        find_pins(emit(Empty(two=True), name="empty_two"))


def test_no_other_inputs():
    with pytest.raises(ValueError, match=r"^\w+ has an input that is no part of AXI: level$"):
        find_pins(emit(Empty(level=True)))


def test_registers_have_32_bits():
    with pytest.raises(ValueError, match=r"^Registers must have 32 bits, and s_axi_control has 64"):
        find_pins(emit(Empty(data_width=64)))
