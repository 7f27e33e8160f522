import re

from amaranth.hdl import Module
from amaranth.lib.wiring import In

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.adder import TernaryAdder
from qkloom.rtl.primitive import Primitive


class Other(Primitive):
    i: In(1)

    def twin(self):
        return Module()


def test_structures():
    assert isinstance(UltraScale().structure(TernaryAdder(width=2)), Module)
    assert UltraScale().structure(Other()) is None


def test_models():
    models = UltraScale().models
    assert {"CARRY8", "DSP48E2", "LUT6_2", "RAM32M16"} <= set(models)
    for name, text in models.items():
        assert re.findall(r"^module (\w+)", text, re.M) == [name]


def test_models_go_with_what_uses_them():
    primitives = emit(TernaryAdder(width=2), target=UltraScale()).primitives
    assert re.findall(r"^module (\w+)", primitives, re.M) == ["CARRY8", "LUT6_2"]
