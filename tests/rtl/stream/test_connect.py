import re

import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8, U8
from qkloom.rtl.stream import Queue, connect_fields, connect_stream, payload_shape
from qkloom.tb.simulate import simulate

XY = data.StructLayout({"x": 3, "y": 5})
YX = data.StructLayout({"y": 5, "x": 3})


def create(shape, **flags):
    return stream.Signature(shape, **flags).create()


def sink(shape, **flags):
    return stream.Signature(shape, **flags).flip().create()


class Chain(Component):
    def __init__(self, *, n):
        self._n = n
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        at = wiring.flipped(self.i)
        for k in range(self._n):
            m.submodules[f"queue_{k}"] = queue = Queue(shape=unsigned(8), depth=2)
            connect_stream(m, at, queue.i)
            at = queue.o
        connect_stream(m, at, wiring.flipped(self.o))
        return m


def test_chain():
    logs = simulate(Chain(n=3), inputs={"i": [1, 2, 3]}, outputs=["o"], cycles=10)
    assert logs["o"].items == [1, 2, 3]
    assert logs["o"].cycles == [3, 4, 5]


@pytest.mark.parametrize(
    ("a", "b"), [(8, unsigned(8)), (XY, data.StructLayout({"x": 3, "y": 5})), (range(8), 3)]
)
def test_equal_shapes(a, b):
    connect_stream(Module(), create(a), sink(b))


@pytest.mark.parametrize(
    ("a", "b"), [(XY, YX), (XY, 8), (8, 9), (I8, U8), (I8, 8), (data.ArrayLayout(I4, 2), I8)]
)
def test_different_shapes(a, b):
    message = re.escape(f"Payload shapes must be equal, not {a!r} and {b!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        connect_stream(Module(), create(a), sink(b))


def test_no_stream():
    with pytest.raises(TypeError, match=r"^A stream is needed, not 5$"):
        connect_stream(Module(), create(8), 5)
    with pytest.raises(TypeError, match=r"^A stream is needed, not <PureInterface: .*>$"):
        connect_stream(Module(), wiring.Signature({"payload": Out(8)}).create(), sink(8))


def test_direction():
    with pytest.raises(wiring.ConnectionError, match=r"^Cannot connect several output members"):
        connect_stream(Module(), sink(8), sink(8))


def test_consumer_that_is_always_ready():
    connect_stream(Module(), create(8), sink(8, always_ready=True))
    with pytest.raises(wiring.ConnectionError, match=r"^Cannot connect input member"):
        connect_stream(Module(), create(8, always_ready=True), sink(8))


class Narrowed(Component):
    def __init__(self):
        self.more = data.StructLayout({"z": 1, "x": 3, "y": 5})
        super().__init__({"i": In(stream.Signature(self.more)), "o": Out(stream.Signature(XY))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.source = source = Queue(shape=self.more, depth=2)
        m.submodules.target = target = Queue(shape=XY, depth=2)
        connect_stream(m, wiring.flipped(self.i), source.i)
        connect_fields(m, source.o, target.i)
        connect_stream(m, target.o, wiring.flipped(self.o))
        return m


def test_fields_that_are_not_asked_for_stay():
    logs = simulate(
        Narrowed(), inputs={"i": [0b01001_101_1, 0b11111_010_0]}, outputs=["o"], cycles=10
    )
    assert logs["o"].items == [0b01001_101, 0b11111_010]
    assert logs["o"].cycles == [2, 3]


@pytest.mark.parametrize(
    ("members", "field"),
    [({"x": 3}, "'y' must be 5, not None"), ({"x": 3, "y": 4}, "'y' must be 5, not 4")],
)
def test_fields_that_are_missing(members, field):
    with pytest.raises(TypeError, match=f"^Field {field}$"):
        connect_fields(Module(), create(data.StructLayout(members)), sink(XY))


def test_payload_shape():
    assert payload_shape(create(XY)) is XY
    assert payload_shape(sink(XY)) is XY
