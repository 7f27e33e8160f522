"""A line between dies keeps order and rate, and never finds its queue full."""

import random
import re

import pytest
from amaranth.hdl import Array, Assert, Assume, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.rtl.stream.crossing import CREDITS, LineReceiver, LineSender
from qkloom.tb.formal import follow, obey, prove, witness
from qkloom.tb.simulate import simulate

SHAPE = data.StructLayout({"a": 12, "b": 1})


class Crossing(Component):
    """Both ends of a line."""

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


class CrossingClaims(Component):
    """What goes in comes out, in order; and no item ever finds the receiver's queue full."""

    def __init__(self):
        inner = {
            "held": ("sender.held", range(CREDITS + 1)),
            "may_send": ("sender.has_some", 1),
            "sent": ("sender.sll_valid.q", 1),
            "sent_item": ("sender.sll_payload.q", 2),
            "arrived": ("receiver.sll_valid.q", 1),
            "arrived_item": ("receiver.sll_payload.q", 2),
            "level": ("receiver.queue.level", range(CREDITS + 1)),
            "has_some": ("receiver.queue.has_some", 1),
            "has_room": ("receiver.queue.has_room", 1),
            "head": ("receiver.queue.head", range(CREDITS)),
            "tail": ("receiver.queue.tail", range(CREDITS)),
            "given": ("receiver.sll_credit.q", 1),
            "returned": ("sender.sll_credit.q", 1),
        }
        self.peek = {name: path for name, (path, _) in inner.items()}
        self.peek |= {f"word__{k}": f"receiver.queue.storage[{k}]" for k in range(CREDITS)}
        items = stream.Signature(2)
        super().__init__(
            {
                "i": In(items),
                "o": Out(items),
                "pick": In(1),
                "last": Out(1),
                **{name: In(shape) for name, (_, shape) in inner.items()},
                "word": In(2).array(CREDITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = LineSender(shape=2)
        m.submodules.receiver = receiver = LineReceiver(shape=2)
        connect_stream(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, sender.line, receiver.line)
        connect_stream(m, receiver.o, wiring.flipped(self.o))
        obey(m, Assume, sender.i, "i")
        obey(m, Assert, receiver.o, "o")
        f = follow(m, sender.i, receiver.o, pick=self.pick, most=CREDITS)

        # Every credit is held, on its way back, or spent on an item that is inside.
        m.d.comb += [
            Assert(self.held + f.inside + self.given + self.returned == CREDITS),
            Assert(f.inside == self.sent + self.arrived + self.level),
            Assert(self.may_send == (self.held != 0)),
        ]
        with m.If(self.arrived):
            m.d.comb += Assert(self.has_room)  # nobody asks the queue: it is never full
        # Proven of the queue itself
        m.d.comb += [
            Assert(self.has_some == (self.level != 0)),
            Assert(self.has_room == (self.level != CREDITS)),
            Assert(self.tail == (self.head + self.level)[: len(self.tail)]),
        ]

        # The item that is followed stands in the queue, or in the register of either end.
        place = Signal.like(self.head)
        m.d.comb += place.eq(self.head + f.ahead)
        with m.If(f.active & (f.ahead < self.level)):
            m.d.comb += Assert(Array(self.word)[place] == f.item)
        with m.Elif(f.active & self.arrived & (f.ahead == self.level)):
            m.d.comb += Assert(self.arrived_item == f.item)
        with m.Elif(f.active):
            m.d.comb += Assert(self.sent_item == f.item)
        was_last = Signal()  # of as many as there can be
        with m.If(f.active & (f.inside == CREDITS) & (f.ahead == CREDITS - 1)):
            m.d.sync += was_last.eq(1)
        m.d.comb += self.last.eq(was_last & f.active & receiver.o.valid & (f.ahead == 0))
        return m


def test_proof(require):
    require("yosys")
    claims = CrossingClaims()
    design = emit(claims, name="claims")
    prove(design, depth=4, peek=claims.peek)
    # All credits are spent, and the last of their items is seen at the output.
    assert witness(design, "last", depth=20) > CREDITS


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
