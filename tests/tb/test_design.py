import dataclasses

import pytest
from amaranth import Module
from amaranth.lib.wiring import In

from qkloom.rtl.component import Component
from qkloom.tb.design import Design, Port


class Sink(Component):
    def __init__(self):
        super().__init__({"i": In(1)})

    def elaborate(self, platform):
        return Module()


class TestDesign:
    def test_is_immutable(self):
        port = Port("i", 1, is_input=True, is_signed=False)
        design = Design("sink", Sink(), "", None, (port,), (), "")
        with pytest.raises(dataclasses.FrozenInstanceError):
            design.rtlil = "module"
        with pytest.raises(dataclasses.FrozenInstanceError):
            design.ports[0].width = 2
