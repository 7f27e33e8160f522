import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import CreditGate, Queue, connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate

ITEMS = [Random(1).randrange(256) for _ in range(40)]


class GateClaims(Component):
    def __init__(self, *, credits):
        self.credits = credits
        items = stream.Signature(2)
        ports = {"i": In(items), "o": Out(items), "returned": In(1), "is_empty": Out(1)}
        super().__init__({**ports, "is_open": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = CreditGate(shape=2, credits=self.credits)
        i, o = dut.i, dut.o
        connect_stream(m, wiring.flipped(self.i), i)
        connect_stream(m, o, wiring.flipped(self.o))
        obey(m, Assume, i, "i")
        obey(m, Assert, o, "o")

        out = Signal(range(self.credits + 1))  # credits spent and not returned
        spent = o.valid & o.ready
        m.d.sync += out.eq(out + spent - self.returned)
        m.d.comb += dut.returned.eq(self.returned)
        with m.If(self.returned):
            m.d.comb += Assume((out != 0) | spent)

        m.d.comb += [
            Assert(out <= self.credits),
            Assert(dut.held == self.credits - out),
            Assert(self.is_open == (dut.held != 0)),
            Assert(o.valid == (i.valid & (out != self.credits))),
            Assert((i.valid & i.ready) == spent),
            self.is_empty.eq((dut.held == 0) & i.valid & o.ready),
        ]
        with m.If(o.valid):
            m.d.comb += Assert(o.payload == i.payload)
        return m


class Loop(Component):
    """A pipeline that cannot stop, between a gate and the queue that takes what comes out."""

    def __init__(self, *, latency, credits):
        self.latency, self.credits = latency, credits
        items = stream.Signature(8)
        ports = {"i": In(items), "o": Out(items), "is_lost": Out(1)}
        super().__init__({**ports, "is_open": In(1)})  # the gate's own, for claims

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = CreditGate(shape=8, credits=self.credits)
        m.submodules.queue = queue = Queue(shape=8, depth=self.credits)
        connect_stream(m, wiring.flipped(self.i), gate.i)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [gate.o.ready.eq(1), gate.returned.eq(queue.o.valid & queue.o.ready)]

        valid, item = gate.o.valid, gate.o.payload
        inside = []
        for k in range(self.latency):
            next_valid = Signal(name=f"valid_{k}")
            next_item = Signal(8, name=f"item_{k}")
            m.d.sync += [next_valid.eq(valid), next_item.eq(item)]
            valid, item = next_valid, next_item
            inside.append(valid)
        m.d.comb += [queue.i.valid.eq(valid), queue.i.payload.eq(item)]
        m.d.comb += self.is_lost.eq(queue.i.valid & ~queue.i.ready)
        self.claim(m, gate, queue, inside)
        return m

    def claim(self, m, gate, queue, inside):
        pass


class LoopClaims(Loop):
    def claim(self, m, gate, queue, inside):
        m.d.comb += [
            Assert(gate.held + sum(inside) + queue.level == self.credits),
            Assert(~self.is_lost),
            Assert(self.is_open == (gate.held != 0)),
            # Proven of the queue itself.
            Assert(queue.i.ready == (queue.level != self.credits)),
            Assert(queue.o.valid == (queue.level != 0)),
        ]


@pytest.mark.parametrize("credits", [1, 2, 3])
def test_proof(require, credits):
    require("yosys")
    design = emit(GateClaims(credits=credits), name="claims")
    prove(design, depth=4, peek={"is_open": "dut.has_some"})
    assert witness(design, "is_empty", depth=credits + 2) == credits + 1


@pytest.mark.parametrize(("latency", "credits"), [(0, 3), (2, 3), (3, 5)])
def test_proof_that_the_queue_is_never_full_for_an_item(require, latency, credits):
    require("yosys")
    claims = LoopClaims(latency=latency, credits=credits)
    prove(emit(claims, name="claims"), depth=6, peek={"is_open": "gate.has_some"})


@pytest.mark.parametrize("credits", [1, 2, 3, 8])
class TestGate:
    def test_credits_run_out(self, credits):
        dut = CreditGate(shape=8, credits=credits)
        logs = simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=20)
        assert logs["o"].items == ITEMS[:credits]
        assert logs["o"].cycles == logs["i"].cycles == list(range(credits))
        assert logs["o"].valid_cycles == list(range(credits))

    def test_never_ready(self, credits):
        dut = CreditGate(shape=8, credits=credits)
        logs = simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=20, pace={"o": 0})
        assert logs["o"].valid_cycles == list(range(20))
        assert logs["i"].cycles == []

    def test_returned_credit(self, credits):
        dut = CreditGate(shape=8, credits=credits)

        async def spend_and_return(ctx):
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.o.ready, 1)
            for held in range(credits, 0, -1):
                assert ctx.get(dut.held) == held
                await ctx.tick()
            assert ctx.get(dut.held) == 0
            ctx.set(dut.returned, 1)
            assert not ctx.get(dut.o.valid)  # from the next cycle on
            await ctx.tick()
            assert ctx.get(dut.o.valid)
            await ctx.tick()  # one spent, one returned
            assert ctx.get(dut.held) == 1
            ctx.set(dut.i.valid, 0)
            for held in range(1, credits):
                assert ctx.get(dut.held) == held
                await ctx.tick()
            assert ctx.get(dut.held) == credits

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(spend_and_return)
        simulator.run()

    def test_conversion(self, credits):
        rtlil.convert(CreditGate(shape=8, credits=credits))


@pytest.mark.parametrize("latency", [0, 1, 4])
class TestLoop:
    def test_order(self, latency):
        dut = Loop(latency=latency, credits=3)
        pace = {"i": 0.7, "o": 0.4}
        logs = simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=400, pace=pace)
        assert logs["o"].items == ITEMS

    def test_full_rate_needs_a_credit_per_cycle_of_the_loop(self, latency):
        for credits in (latency + 2, latency + 1):
            dut = Loop(latency=latency, credits=max(credits, 2))
            logs = simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=100)
            first = latency + 1
            assert logs["o"].items == ITEMS
            is_full_rate = logs["o"].cycles == list(range(first, first + 40))
            assert is_full_rate == (max(credits, 2) == latency + 2)

    def test_never_ready(self, latency):
        dut = Loop(latency=latency, credits=3)
        logs = simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=30, pace={"o": 0})
        assert logs["o"].valid_cycles == list(range(latency + 1, 30))
        assert len(logs["i"].items) == 3


@pytest.mark.parametrize(("credits", "error"), [(2.5, TypeError), (0, ValueError)])
def test_wrong_count(credits, error):
    message = re.escape(f"Number of credits must be a positive integer, not {credits!r}")
    with pytest.raises(error, match=f"^{message}$"):
        CreditGate(shape=8, credits=credits)
