import re

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.rtl.stream import Fork, Queue
from qkloom.tb.simulate import from_bits, simulate, to_bits


class Faulty(Component):
    """Offers an item in cycle 2, then withdraws it or changes it in cycle 4."""

    def __init__(self, *, withdraws):
        self.withdraws = withdraws
        super().__init__({"o": Out(stream.Signature(8)), "unused": In(1)})

    def elaborate(self, platform):
        m = Module()
        cycle = Signal(4)
        m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += [self.o.valid.eq(cycle >= 2), self.o.payload.eq(7)]
        with m.If(cycle >= 4):
            if self.withdraws:
                m.d.comb += self.o.valid.eq(0)
            else:
                m.d.comb += self.o.payload.eq(8)
        return m


def test_cycles():
    logs = simulate(Queue(shape=8, depth=2), inputs={"i": [5, 6]}, outputs=["o"], cycles=6)
    assert logs["i"].cycles == logs["i"].valid_cycles == [0, 1]
    assert logs["o"].cycles == [1, 2]
    assert logs["o"].items == [5, 6]


def test_pace_is_repeatable():
    def run(seed):
        dut = Queue(shape=8, depth=2)
        pace = {"i": 0.5, "o": 0.5}
        return simulate(
            dut, inputs={"i": range(20)}, outputs=["o"], cycles=100, pace=pace, seed=seed
        )

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(2)["o"].items == list(range(20))


def test_streams_of_an_array():
    dut = Fork(shape=8, n=2)
    logs = simulate(dut, inputs={"i": [1]}, outputs=["o__0", "o__1"], cycles=3, pace={"o__1": 0})
    assert logs["o__0"].items == [1]
    assert logs["o__1"].valid_cycles == [0, 1, 2]


def test_stream_rules():
    with pytest.raises(AssertionError, match=r"^o withdraws an item in cycle 4"):
        simulate(Faulty(withdraws=True), inputs={}, outputs=["o"], cycles=9, pace={"o": 0})
    with pytest.raises(AssertionError, match=r"^o changes its item in cycle 4"):
        simulate(Faulty(withdraws=False), inputs={}, outputs=["o"], cycles=9, pace={"o": 0})
    simulate(Faulty(withdraws=False), inputs={}, outputs=["o"], cycles=9)


class Doubled(Component):
    """Two queues, one behind the other, and a count of the cycles in which a port was 1."""

    def __init__(self, *, shape=8):
        self._shape = shape
        items = stream.Signature(shape)
        always = stream.Signature(8, always_ready=True)
        super().__init__({"i": In(items), "o": Out(items), "n": Out(always), "up": In(1)})
        self.first, self.second = (Queue(shape=shape, depth=2) for _ in range(2))

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = self.first, self.second
        for source, sink in ((self.i, self.first.i), (self.first.o, self.second.i)):
            m.d.comb += [sink.valid.eq(source.valid), sink.payload.eq(source.payload)]
            m.d.comb += source.ready.eq(sink.ready)
        m.d.comb += [self.o.valid.eq(self.second.o.valid), self.second.o.ready.eq(self.o.ready)]
        m.d.comb += self.o.payload.eq(self.second.o.payload)
        m.d.sync += self.n.payload.eq(self.n.payload + self.up)
        m.d.comb += self.n.valid.eq(1)
        return m


def test_pace_may_change():
    pace = {"o": lambda cycle: cycle >= 10}
    logs = simulate(Doubled(), inputs={"i": [7]}, outputs=["o"], cycles=15, pace=pace)
    assert logs["o"].valid_cycles == list(range(2, 11))
    assert logs["o"].cycles == [10]


def test_idle_ends_it():
    for cycles, last in ((100, 20), (17, 16)):
        pace = {"o": lambda cycle: cycle == 10}
        logs = simulate(
            Doubled(), inputs={"i": [1, 2]}, outputs=["o"], cycles=cycles, idle=10, pace=pace
        )
        assert logs["o"].valid_cycles[-1] == last


def test_an_input_without_an_item_shows_another():
    shown = []

    class Watched(Queue):
        def __init__(self):
            super().__init__(shape=8, depth=2)

    dut = Watched()

    async def note(ctx):
        async for _, _, valid, item in ctx.tick().sample(dut.i.valid, dut.i.payload):
            shown.append((valid, item))

    simulate(dut, inputs={"i": [5, 6]}, outputs=["o"], cycles=4, beside=[note])
    assert shown == [(1, 5), (1, 6), (0, 0xF9), (0, 0xF9)]


def test_processes_beside_and_streams_within():
    dut = Doubled()

    async def count(ctx):
        cycle = 0
        async for _ in ctx.tick():
            cycle += 1
            ctx.set(dut.up, cycle % 2)

    logs = simulate(
        dut,
        inputs={"i": [5, 6, 7]},
        outputs=["o", "n"],
        cycles=8,
        pace={"o": lambda cycle: cycle > 3},
        watched=["first__o"],
        beside=[count],
    )
    assert logs["first__o"].items == [5, 6, 7]
    assert logs["first__o"].cycles == [1, 2, 5]
    assert logs["first__o"].valid_cycles == [1, 2, 3, 4, 5]
    assert logs["n"].items == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rules_hold_within_too():
    class Outer(Component):
        def __init__(self):
            super().__init__({"unused": In(1)})
            self.inner = Faulty(withdraws=True)

        def elaborate(self, platform):
            m = Module()
            m.submodules.inner = self.inner
            return m

    with pytest.raises(AssertionError, match=r"^inner__o withdraws an item in cycle 4"):
        simulate(Outer(), inputs={}, outputs=[], cycles=9, watched=["inner__o"])


def test_bits_of_a_payload():
    row = data.ArrayLayout(I8, 3)
    layout = data.StructLayout({"flag": 1, "row": row, "place": data.StructLayout({"x": range(5)})})
    value = {"flag": 1, "row": [-128, 127, -1], "place": {"x": 4}}
    bits = to_bits(layout, value)
    assert bits == 1 | 0xFF7F80 << 1 | 4 << 25
    assert from_bits(layout, bits) == value
    assert to_bits(layout, value) == layout.const(value).as_value().value
    assert (to_bits(8, -1), from_bits(8, -1)) == (255, 255)
    assert (to_bits(signed(4), 9), from_bits(signed(4), 9), from_bits(signed(4), 7)) == (9, -7, 7)
    assert (to_bits(0, 0), from_bits(0, 1)) == (0, 0)


@pytest.mark.parametrize("value", [{"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_a_struct_needs_its_fields(value):
    layout = data.StructLayout({"a": 1, "b": 2})
    message = f"A payload must have the fields ['a', 'b'], not {list(value)}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        to_bits(layout, value)
