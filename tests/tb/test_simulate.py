import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Fork, Queue
from qkloom.tb.simulate import simulate


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
