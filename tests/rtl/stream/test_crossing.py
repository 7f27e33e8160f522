"""A line between dies keeps order and rate, and never finds its queue full."""

import random
import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.rtl.stream.crossing import CREDITS, LineReceiver, LineSender
from qkloom.tb.simulate import simulate

SHAPE = data.StructLayout({"a": 12, "b": 1})


class Crossing(Component):
    """Both ends; `refused` is 1 when an item came and the queue had no room."""

    def __init__(self, *, shape):
        self._shape = shape
        flow = stream.Signature(shape)
        super().__init__({"i": In(flow), "o": Out(flow)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = LineSender(shape=self._shape)
        m.submodules.receiver = receiver = LineReceiver(shape=self._shape)
        connect_stream(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, sender.line, receiver.line)
        connect_stream(m, receiver.o, wiring.flipped(self.o))
        return m


def run(n=100, *, cycles=2000, **pace):
    rng = random.Random(n)
    items = [rng.getrandbits(13) for _ in range(n)]
    logs = simulate(
        Crossing(shape=SHAPE), inputs={"i": items}, outputs=["o"], cycles=cycles, pace=pace
    )
    return logs, items


@pytest.mark.parametrize(("i", "o"), [(1, 1), (0.5, 0.5), (1, 0.2), (0.2, 1), (0.9, 0.8)])
def test_order(i, o):
    logs, items = run(i=i, o=o)
    assert logs["o"].items == items


def test_latency_and_rate():
    logs, items = run(cycles=200)
    assert logs["i"].cycles == list(range(len(items)))
    assert logs["o"].cycles == list(range(4 - 1, len(items) + 4 - 1))


def test_never_taken():
    """As many items leave as there is room for, and none is lost when they are taken at last."""
    logs, _ = run(cycles=100, o=0)
    assert len(logs["i"].items) == CREDITS
    logs, items = run(o=lambda cycle: float(cycle > 60))
    assert logs["o"].items == items
    assert sum(cycle <= 60 for cycle in logs["i"].cycles) == CREDITS


@pytest.mark.parametrize("width", [1, 300])
def test_registers_have_the_names_that_the_floorplan_asks_for(width):
    text = emit(Crossing(shape=width), verilog=True).verilog
    for name in ("sll_valid", "sll_payload", "sll_credit"):
        found = re.findall(rf"(line_register\w*) {name} \(", text)
        assert len(found) == 2, name
        (body,) = re.findall(rf"module {found[0]}\(.*?endmodule", text, re.DOTALL)
        assert re.search(r"reg (\[\d+:0\] )?q =", body)
