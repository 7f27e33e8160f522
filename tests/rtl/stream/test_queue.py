import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.rtl.stream import Queue, connect_stream
from qkloom.tb.formal import follow, obey, prove, witness
from qkloom.tb.simulate import simulate

KINDS = [(d, r) for d in (1, 2, 3, 4, 5, 8) for r in (False, True)]
ITEMS = [Random(1).randrange(256) for _ in range(40)]


class QueueClaims(Component):
    """What is claimed of a queue, and enough of its inner state to prove it."""

    def __init__(self, *, depth, registered):
        self.depth, self.registered = depth, registered
        self.has_memory = depth > 2
        inner = {"stored": In(2)}
        self.peek = {"stored": "dut.slice.stored"} if depth == 2 else {}
        if self.has_memory:
            inner = {"head": In(range(depth)), "tail": In(range(depth)), "fetched": In(1)}
            inner |= {"word": In(2).array(depth)}
            self.peek = {"head": "dut.head", "tail": "dut.tail"}
            self.peek |= {f"word__{k}": f"dut.storage[{k}]" for k in range(depth)}
            if registered:
                self.peek |= {"fetched": "dut.fetched"}
        items = stream.Signature(2)
        ports = {"i": In(items), "o": Out(items), "pick": In(1), "wrapped": Out(1)}
        super().__init__({**ports, **inner})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Queue(shape=2, depth=self.depth, registered=self.registered)
        i, o = dut.i, dut.o
        connect_stream(m, wiring.flipped(self.i), i)
        connect_stream(m, o, wiring.flipped(self.o))

        obey(m, Assume, i, "i")
        obey(m, Assert, o, "o")
        f = follow(m, i, o, pick=self.pick, most=self.depth)
        m.d.comb += [Assert(dut.level == f.inside), Assert(i.ready == (f.inside != self.depth))]

        if self.registered and self.has_memory:
            # One cycle later than without the register, but never a bubble after that.
            left = Signal.like(f.inside)
            m.d.sync += left.eq(f.inside - (o.valid & o.ready))
            m.d.comb += Assert(f.inside >= o.valid)
            with m.If(left != 0):
                m.d.comb += Assert(o.valid)
        else:
            m.d.comb += Assert(o.valid == (f.inside != 0))

        if self.has_memory:
            self.claim_memory(m, f, o)
        else:
            with m.If(f.active):
                m.d.comb += Assert(Mux(f.ahead == 0, o.payload, self.stored) == f.item)
        with m.If(f.active & (f.inside == self.depth) & (f.ahead == 0)):
            m.d.comb += self.wrapped.eq(1)
        return m

    def claim_memory(self, m, f, o):
        fetched = self.fetched if self.registered else 0
        stored = Signal(range(self.depth + 1))
        place = Signal(range(self.depth + 1))
        m.d.comb += [
            stored.eq(f.inside - fetched),
            place.eq(f.ahead - fetched),
            Assert(self.head < self.depth),
            Assert(self.tail < self.depth),
        ]
        with m.Switch(self.head):
            for head in range(self.depth):
                with m.Case(head):
                    for n in range(self.depth):
                        in_memory = f.active & (f.ahead >= fetched) & (place == n)
                        with m.If(in_memory):
                            m.d.comb += Assert(self.word[(head + n) % self.depth] == f.item)
                    for n in range(self.depth + 1):
                        with m.If(stored == n):
                            m.d.comb += Assert(self.tail == (head + n) % self.depth)
        with m.If(f.active & fetched & (f.ahead == 0)):
            m.d.comb += Assert(o.payload == f.item)


@pytest.mark.parametrize(("depth", "registered"), [*KINDS[:1], *KINDS[2:3], *KINDS[4:10]])
def test_proof(require, depth, registered):
    require("yosys")
    claims = QueueClaims(depth=depth, registered=registered)
    design = emit(claims, name="claims")
    prove(design, depth=4, peek=claims.peek)
    # The last item of a full queue is seen at the output, after every other one went ahead.
    assert witness(design, "wrapped", depth=2 * depth + 3) > depth


@pytest.mark.parametrize(("depth", "registered"), KINDS)
class TestBehaviour:
    def run(self, depth, registered, cycles, **pace):
        dut = Queue(shape=8, depth=depth, registered=registered)
        return simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=cycles, pace=pace)

    @pytest.mark.parametrize(("i", "o"), [(0.5, 0.5), (1, 0.3), (0.3, 1)])
    def test_order(self, depth, registered, i, o):
        logs = self.run(depth, registered, 250, i=i, o=o)
        assert logs["o"].items == ITEMS

    def test_full_rate(self, depth, registered):
        logs = self.run(depth, registered, 90)
        latency = 2 if registered and depth > 2 else 1
        step = 2 if depth == 1 else 1
        assert logs["o"].items == ITEMS
        assert logs["o"].cycles == [latency + step * n for n in range(len(ITEMS))]

    def test_never_ready(self, depth, registered):
        logs = self.run(depth, registered, 40, o=0)
        latency = 2 if registered and depth > 2 else 1
        assert logs["o"].valid_cycles == list(range(latency, 40))
        assert logs["i"].cycles == list(range(depth))

    def test_level(self, depth, registered):
        dut = Queue(shape=8, depth=depth, registered=registered)

        async def fill_and_drain(ctx):
            levels = []
            for is_filling in (1, 0):
                ctx.set(dut.i.valid, is_filling)
                ctx.set(dut.o.ready, not is_filling)
                for _ in range(depth + 2):
                    levels.append(ctx.get(dut.level))
                    await ctx.tick()
            assert levels == [*range(depth + 1), depth, *range(depth, -1, -1), 0]

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(fill_and_drain)
        simulator.run()

    def test_conversion(self, depth, registered):
        text = rtlil.convert(Queue(shape=8, depth=depth, registered=registered))
        assert ("memory width 8" in text) == (depth > 2)


def test_struct():
    shape = data.StructLayout({"x": I8, "rest": data.ArrayLayout(3, 2)})
    items = [Random(2).randrange(1 << 14) for _ in range(20)]
    dut = Queue(shape=shape, depth=3)
    assert dut.depth == 3
    logs = simulate(dut, inputs={"i": items}, outputs=["o"], cycles=60, pace={"o": 0.6})
    assert logs["o"].items == items


@pytest.mark.parametrize("depth", ["4", 2.0, True, None])
def test_wrong_kind(depth):
    message = re.escape(f"Depth must be a positive integer, not {depth!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        Queue(shape=8, depth=depth)


def test_too_deep():
    assert Queue(shape=8, depth=65_536).depth == 65_536
    with pytest.raises(ValueError, match=r"^Depth must be at most 65536, not 65537$"):
        Queue(shape=8, depth=65_537)


@pytest.mark.parametrize("depth", [0, -1])
def test_wrong_value(depth):
    with pytest.raises(ValueError, match=f"^Depth must be a positive integer, not {depth}$"):
        Queue(shape=8, depth=depth)
