import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.primitive import Primitive


class Inverter(Primitive):
    def __init__(self, *, width=1):
        super().__init__({"i": In(width), "o": Out(width)})

    def twin(self):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class Target:
    """Builds the narrow ones only."""

    models = {}

    def structure(self, block):
        if block.parameters["width"] > 1:
            return None
        m = Module()
        m.d.comb += block.o.eq(block.i ^ 1)
        return m


def test_without_target():
    assert "cell $not" in emit(Inverter()).rtlil


def test_structure():
    text = emit(Inverter(), target=Target()).rtlil
    assert "cell $xor" in text and "cell $not" not in text


def test_target_without_a_better_idea():
    assert "cell $not" in emit(Inverter(width=2), target=Target()).rtlil


def test_platform_without_structures():
    assert isinstance(Inverter().elaborate(None), Module)
    assert isinstance(Inverter().elaborate(object()), Module)


def test_no_twin():
    class Nothing(Primitive):
        i: In(1)

    with pytest.raises(NotImplementedError):
        Nothing().elaborate(None)
