import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from qkloom.tb.monitor import StreamMonitor, Violation, add_monitors


@pytest.mark.parametrize(
    ("cycles", "rules"),
    [
        ([(1, 0, 5), (1, 0, 5), (1, 1, 5), (1, 1, 6), (0, 0, 9)], []),
        ([(1, 0, 5), (0, 0, 5)], [("withdrew an item", 1)]),
        ([(1, 0, 5), (1, 1, 6)], [("changed an item", 1)]),
        ([(1, 0, 5), (1, 0, 6), (0, 1, 0)], [("changed an item", 1), ("withdrew an item", 2)]),
        ([(0, 1, 5), (1, 1, 6), (0, 0, 7), (0, 1, 8)], []),
    ],
)
def test_rules(cycles, rules):
    monitor = StreamMonitor("o")
    for cycle, (valid, ready, payload) in enumerate(cycles):
        monitor.observe(cycle, valid=valid, ready=ready, payload=payload)
    assert monitor.violations == [Violation("o", rule, cycle) for rule, cycle in rules]


def test_message():
    violation = Violation("o", "changed an item", 7)
    assert str(violation) == "o changed an item that nobody had taken, in cycle 7"


class Counter(wiring.Component):
    """Offers another number in each cycle, taken or not; a second stream keeps the rules."""

    o: Out(stream.Signature(8))
    good: Out(stream.Signature(8, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        count = Signal(8)
        m.d.sync += count.eq(count + 1)
        for port in (self.o, self.good):
            m.d.comb += [port.valid.eq(1), port.payload.eq(count)]
        return m


def test_add_monitors():
    dut = Counter()

    async def drive(ctx):
        for ready in (1, 0, 1, 1):
            ctx.set(dut.o.ready, ready)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    bad, good = add_monitors(simulator, dut)
    simulator.run()
    assert bad.violations == [Violation("o", "changed an item", 2)]
    assert good.violations == []
