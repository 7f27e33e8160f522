from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.tb.streams import streams_of

ROW = data.ArrayLayout(8, 3)
BUS = wiring.Signature({"request": Out(stream.Signature(4)), "answer": In(stream.Signature(ROW))})


class Component(wiring.Component):
    i: In(stream.Signature(ROW))
    o: Out(stream.Signature(5, always_ready=True))
    lanes: In(stream.Signature(2, always_valid=True)).array(1, 2)
    bus: Out(BUS)
    device: In(BUS)
    empty: In(stream.Signature(0)).array(0)
    token: Out(stream.Signature(0))
    level: In(3)

    def elaborate(self, platform):
        return Module()


def test_streams_of():
    component = Component()
    found = {s.name: s for s in streams_of(component)}
    assert {name: s.is_input for name, s in found.items()} == {
        "i": True,
        "o": False,
        "lanes__0__0": True,
        "lanes__0__1": True,
        "bus__request": False,
        "bus__answer": True,
        "device__request": True,
        "device__answer": False,
        "token": False,
    }
    assert found["i"].shape == ROW
    assert found["i"].payload is component.i.payload.as_value()
    assert found["o"].ready is None
    assert found["o"].valid is component.o.valid
    assert found["lanes__0__1"].valid is None
    assert found["token"].payload is None
