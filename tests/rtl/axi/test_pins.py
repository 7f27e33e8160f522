import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4, AXI4Lite, AXI4Read, bus_pins, connect_bus_pins
from qkloom.rtl.component import Component


class Through(Component):
    """From the pins of a subordinate to those of a manager."""

    def __init__(self, *, lite):
        self._bus = AXI4Lite(address_width=12) if lite else AXI4(data_width=64, id_width=2)
        super().__init__({**bus_pins("s_axi", self._bus.flip()), **bus_pins("m_axi", self._bus)})

    def elaborate(self, platform):
        m = Module()
        bus = self._bus.create()
        connect_bus_pins(m, self, "m_axi", bus)
        connect_bus_pins(m, self, "s_axi", wiring.flipped(bus))
        return m


class TestPins:
    def test_names_and_directions(self):
        pins = bus_pins("m00_axi", AXI4Read(data_width=256, id_width=3))
        assert {name: (member.flow, member.shape) for name, member in pins.items()} == {
            "m00_axi_arid": (Out, 3),
            "m00_axi_araddr": (Out, 64),
            "m00_axi_arlen": (Out, 8),
            "m00_axi_arsize": (Out, 3),
            "m00_axi_arburst": (Out, 2),
            "m00_axi_arlock": (Out, 1),
            "m00_axi_arcache": (Out, 4),
            "m00_axi_arprot": (Out, 3),
            "m00_axi_arqos": (Out, 4),
            "m00_axi_arregion": (Out, 4),
            "m00_axi_arvalid": (Out, 1),
            "m00_axi_arready": (In, 1),
            "m00_axi_rid": (In, 3),
            "m00_axi_rdata": (In, 256),
            "m00_axi_rresp": (In, 2),
            "m00_axi_rlast": (In, 1),
            "m00_axi_rvalid": (In, 1),
            "m00_axi_rready": (Out, 1),
        }

    def test_subordinate_is_the_flip(self):
        bus = AXI4Lite(address_width=12)
        manager, subordinate = bus_pins("s", bus), bus_pins("s", bus.flip())
        assert subordinate == {name: member.flip() for name, member in manager.items()}
        assert [name for name in manager if name.startswith("s_w")] == [
            "s_wdata",
            "s_wstrb",
            "s_wvalid",
            "s_wready",
        ]

    def test_error(self):
        with pytest.raises(TypeError, match=r"^Pins must be of an AXI bus, not of Signature"):
            bus_pins("x", wiring.Signature({}))

    @pytest.mark.parametrize("lite", [False, True])
    def test_emits(self, lite):
        design = emit(Through(lite=lite), verilog=True)
        assert "assign m_axi_awaddr = s_axi_awaddr;" in design.verilog
        assert "assign s_axi_rdata = m_axi_rdata;" in design.verilog
        assert "assign m_axi_wvalid = s_axi_wvalid;" in design.verilog
        if not lite:
            assert "assign m_axi_arcache = 4'h3;" in design.verilog
