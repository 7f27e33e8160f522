import re
from random import Random

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.cache.prefetch import LoadOrder
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.cache.prefetch import LoadItem, LoadOrderModel, Surroundings
from qkloom.tb.formal import obey, prove_run, witness

SIZES = {"heads": 4, "blocks": 16, "k": 4}


def draw_layers(rng, n):
    """Return the loads of ``n`` layers of two heads, for each input."""
    inputs = [[], []]
    for layer in range(n):
        for last in (0, 1):
            head = rng.randrange(4)
            for slot in range(rng.randrange(4)):
                inputs[layer % 2].append(LoadItem(head, rng.randrange(16), slot))
            inputs[layer % 2].append(LoadItem(head, end=1, last=last))
    return inputs


def run(in_flight, inputs, paces, *, cycles, seed=0, fails=0.1):
    """Run unit and model side by side; return what the model says of each cycle."""
    dut = LoadOrder(**SIZES, in_flight=in_flight)
    model = LoadOrderModel(in_flight=in_flight)
    rng = Random(seed)
    waiting = [list(items) for items in inputs]
    history = []

    async def drive(ctx):
        offered = [None, None]
        arrival = None
        for _ in range(cycles):
            for k, i in enumerate(dut.i):
                if offered[k] is None and waiting[k] and rng.random() < paces["i"][k]:
                    offered[k] = waiting[k].pop(0)
                item = offered[k] or LoadItem(rng.randrange(4), rng.randrange(16), 0, 1, 1)
                ctx.set(i.valid, offered[k] is not None)
                ctx.set(i.payload, vars(item))
            if arrival is None and rng.random() < paces["arrived"]:
                arrival = rng.random() < fails
            ctx.set(dut.arrived.valid, arrival is not None)
            ctx.set(dut.arrived.payload, {"failed": bool(arrival)})
            takes, starts = (rng.random() < paces[name] for name in ("o", "ready"))
            ctx.set(dut.o.ready, takes)
            ctx.set(dut.ready.ready, starts)
            found = model.cycle(Surroundings(tuple(offered), takes, arrival, starts))
            history.append((found, takes, starts))
            taken = []
            for k, i in enumerate(dut.i):
                taken.append(bool(ctx.get(i.ready)) and offered[k] is not None)
            assert tuple(taken) == found.taken
            assert ctx.get(dut.o.valid) == (found.load is not None)
            if found.load is not None:
                item, side = found.load
                load = ctx.get(dut.o.payload)
                assert (load.head, load.block, load.slot) == (item.head, item.block, item.slot)
                assert load.side == side
            assert bool(ctx.get(dut.arrived.ready) and arrival is not None) == found.has_arrived
            assert ctx.get(dut.ready.valid) == (found.ready is not None)
            if found.ready is not None:
                ready = ctx.get(dut.ready.payload)
                assert (ready.side, ready.failed) == found.ready
            for k in range(2):
                if found.taken[k]:
                    offered[k] = None
            if found.has_arrived:
                arrival = None
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return history


PACES = [
    {"i": (1, 1), "arrived": 1, "o": 1, "ready": 1},
    {"i": (0.2, 0.9), "arrived": 0.5, "o": 0.5, "ready": 0.3},
    {"i": (0.9, 0.3), "arrived": 0.2, "o": 0.9, "ready": 0.9},
    {"i": (0.5, 0.5), "arrived": 0.9, "o": 0.2, "ready": 0.1},
]


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("paces", PACES, ids=[str(n) for n in range(len(PACES))])
def test_random(in_flight, paces):
    layers = draw_layers(Random(in_flight), 20)
    history = run(in_flight, layers, paces, cycles=300, seed=in_flight)
    begun = [found.load for found, takes, _ in history if found.load and takes]
    for side, items in enumerate(layers):
        sent = [item for item in items if not item.end]
        mine = [item for item, of in begun if of == side]
        assert mine == sent[: len(mine)]  # none is lost, doubled or overtaken
    sides = [found.ready[0] for found, _, starts in history if found.ready and starts]
    assert sides == [n % 2 for n in range(len(sides))]
    if paces is PACES[0]:
        assert len(sides) == 20
        assert {bool(found.ready[1]) for found, _, _ in history if found.ready} == {False, True}


class TestExamples:
    def test_demand_first(self):
        """A prefetch that is offered stays; then come demands, however many wait on either side."""
        load = [LoadItem(0, n, n % 3) for n in range(6)]
        paces = {"i": (1, 1), "arrived": 1, "o": 1, "ready": 0}
        history = run(8, [load[:3], load[3:]], paces, cycles=12)
        begun = [found.load[0].block for found, _, _ in history if found.load]
        assert begun == [0, 1, 2, 3, 4, 5]
        assert [n for n, (found, _, _) in enumerate(history) if found.load] == [1, 2, 3, 4, 5, 6]

    def test_closed_until_it_is_its_turn(self):
        """A layer's second turn waits for its first one, and nobody is ready before the other."""
        end = LoadItem(end=1, last=1)
        paces = {"i": (0, 1), "arrived": 1, "o": 1, "ready": 1}
        history = run(8, [[], [end, LoadItem(0, 5, 1), end]], paces, cycles=12)
        assert sum(found.taken[1] for found, _, _ in history) == 1
        assert not any(found.ready for found, _, _ in history)

    def test_failed(self):
        end = LoadItem(end=1, last=1)
        paces = {"i": (1, 1), "arrived": 1, "o": 1, "ready": 1}
        history = run(2, [[LoadItem(0, 1, 1), end], [end]], paces, cycles=9, fails=1)
        assert [found.ready for found, _, _ in history if found.ready] == [(0, True), (1, False)]


class LoadClaims(Component):
    """What users are promised, beside the unit; loads of an input count up in ``block``."""

    def __init__(self, *, in_flight):
        self.in_flight = in_flight
        self.dut = dut = LoadOrder(heads=1, blocks=8, k=2, in_flight=in_flight)
        members = dut.signature.members
        super().__init__(
            {**{name: members[name] for name in ("i", "o", "arrived", "ready")}, "waited": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in ("o", "ready"):
            connect_stream(m, getattr(dut, name), wiring.flipped(getattr(self, name)))
            obey(m, Assert, getattr(dut, name), name)
        connect_stream(m, wiring.flipped(self.arrived), dut.arrived)
        obey(m, Assume, dut.arrived, "arrived")
        o, ready = dut.o, dut.ready
        begins = Signal()
        arrives = Signal()
        starts = Signal()
        m.d.comb += [
            begins.eq(o.valid & o.ready),
            arrives.eq(dut.arrived.valid & dut.arrived.ready),
            starts.eq(ready.valid & ready.ready),
        ]
        turn = Signal()
        under_way = Signal(4)
        m.d.sync += [turn.eq(turn ^ starts), under_way.eq(under_way + begins - arrives)]
        m.d.comb += Assert(under_way + o.valid <= self.in_flight)
        with m.If(arrives):
            m.d.comb += Assert(under_way != 0)
        with m.If(ready.valid):
            m.d.comb += Assert(ready.payload.side == turn)

        # Of each input: loads that came, began and arrived, and whether its layer has ended.
        order = Signal(8)  # sides of loads under way, the oldest one in bit 0
        at = Signal(4)
        m.d.comb += at.eq(under_way - arrives)
        shifted = Signal(8)
        m.d.comb += shifted.eq(order >> arrives)
        m.d.sync += order.eq(Mux(begins, shifted | (o.payload.side << at), shifted))
        wants = []
        for k, i in enumerate(dut.i):
            connect_stream(m, wiring.flipped(self.i[k]), i)
            obey(m, Assume, i, f"i_{k}")
            came = Signal(3, name=f"came_{k}")
            began = Signal(3, name=f"began_{k}")
            arrived = Signal(3, name=f"arrived_{k}")
            failed = Signal(name=f"failed_{k}")
            closed = Signal(name=f"closed_{k}")
            comes = Signal(name=f"comes_{k}")
            want = Signal(name=f"wants_{k}")
            m.d.comb += [
                comes.eq(i.valid & i.ready & ~i.payload.end),
                want.eq(i.valid & ~i.payload.end),
                Assume(i.payload.end | (i.payload.block == came)),
                Assume(i.payload.end | ~i.payload.last),
            ]
            wants.append(want & ~closed)
            m.d.sync += came.eq(came + comes)
            with m.If(begins & (o.payload.side == k)):
                m.d.comb += Assert(o.payload.block == began)  # the next one, and no other
                m.d.sync += began.eq(began + 1)
            with m.If(arrives & (order[0] == k)):
                m.d.sync += arrived.eq(arrived + 1)
                with m.If(dut.arrived.payload.failed):
                    m.d.sync += failed.eq(1)
            with m.If(i.valid & i.ready):
                m.d.comb += Assert(~closed)
                with m.If(i.payload.end & i.payload.last):
                    m.d.sync += closed.eq(1)
            with m.If(turn == k):
                done = closed & (came == arrived)
                m.d.comb += Assert(ready.valid == done)
                with m.If(ready.valid):
                    m.d.comb += Assert(ready.payload.failed == failed)
                with m.If(starts):
                    m.d.sync += [closed.eq(0), failed.eq(0)]

        # While a demand waits, one prefetch begins at most.
        passed = Signal(2)
        demand = Signal()
        m.d.comb += demand.eq(Mux(turn, wants[1], wants[0]))
        taken = Mux(turn, dut.i[1].ready, dut.i[0].ready)
        prefetch = begins & (o.payload.side != turn)
        with m.If(demand):
            m.d.comb += Assert(~(prefetch & (passed == 1)))
            m.d.comb += self.waited.eq(prefetch & ~taken)
        with m.If(~demand | taken | starts):
            m.d.sync += passed.eq(0)
        with m.Elif(prefetch):
            m.d.sync += passed.eq(1)
        return m


@pytest.mark.parametrize(("in_flight", "depth"), [(1, 9), (2, 7)])
def test_proof(require, in_flight, depth):
    """Every run of so many cycles."""
    require("yosys")
    design = emit(LoadClaims(in_flight=in_flight), name="claims")
    prove_run(design, depth=depth)
    # A demand does wait for a prefetch: none is cut.
    assert witness(design, "waited", depth=depth) < depth


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"in_flight": 0}, ValueError, "Loads under way must be a positive integer, not 0"),
        ({"blocks": "4"}, TypeError, "Blocks must be a positive integer, not '4'"),
        ({"k": 1}, ValueError, "Slots must be at least 2, one of them for the tail, not 1"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        LoadOrder(**{**SIZES, **changes})
