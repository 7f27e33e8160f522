import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi.burst import burst_layout
from qkloom.rtl.axi.gate import BurstGate
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate, to_bits

BURST = burst_layout(address_width=12)


def bursts(*lengths):
    return [to_bits(BURST, {"addr": n, "len": n - 1, "last": 0}) for n in lengths]


class GateClaims(Component):
    """Credits are never overspent, and never more than there are."""

    def __init__(self, *, credits, held):
        self.credits, self.n_held = credits, held
        burst = burst_layout(address_width=1)
        super().__init__(
            {
                "i": In(stream.Signature(burst)),
                "halt": In(1),
                "room": In(1),
                "gained": In(1),
                "lost": In(1),
                "passes_all": Out(1),
                "drops": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = BurstGate(address_width=1, credits=self.credits, held=self.n_held)
        connect_stream(m, wiring.flipped(self.i), dut.i)
        obey(m, Assume, self.i, "i")
        passes = dut.o.valid
        n = Signal(9)
        m.d.comb += n.eq(dut.i.payload.len + 1)
        for name in ("halt", "room", "gained", "lost"):
            m.d.comb += getattr(dut, name).eq(getattr(self, name))

        # What the surroundings promise.
        had_room = Signal()
        m.d.sync += had_room.eq(self.room & ~passes)
        with m.If(had_room):
            m.d.comb += Assume(self.room)
        m.d.comb += Assume(~self.lost | (self.halt & ~passes & (dut.held != 0)))
        with m.If(dut.held == self.credits):
            m.d.comb += Assume(~self.gained)

        after = Signal(range(-256, self.credits + 2))
        m.d.comb += [
            after.eq(dut.held - self.lost + self.gained),
            Assert(dut.held <= self.credits),
        ]
        with m.If(passes):
            m.d.comb += [
                Assert(dut.i.valid & dut.i.ready & (dut.held >= n)),
                Assert(had_room),
                after.eq(dut.held - n + self.gained),
            ]
        before = Signal.like(after, init=self.n_held)
        m.d.sync += before.eq(after)
        m.d.comb += Assert(before == dut.held)
        m.d.comb += [
            self.passes_all.eq(passes & (dut.held == n) & (n == self.credits)),
            self.drops.eq(dut.i.valid & dut.i.ready & ~passes),
        ]
        return m


@pytest.mark.parametrize(("credits", "held"), [(4, 4), (5, 0), (1, 0)])
def test_proof(require, credits, held):
    require("yosys")
    design = emit(GateClaims(credits=credits, held=held), name="claims")
    prove(design, depth=4)
    assert witness(design, "passes_all", depth=10) == 2 + credits - held
    assert witness(design, "drops", depth=4) == 1


class TestBehaviour:
    def run(self, lengths, *, credits, held, gained=(), room=lambda cycle: 1, cycles=40):
        dut = BurstGate(address_width=12, credits=credits, held=held)

        async def drive(ctx):
            for cycle in range(cycles):
                ctx.set(dut.gained, cycle in gained)
                ctx.set(dut.room, room(cycle))
                await ctx.tick()

        logs = simulate(
            dut,
            inputs={"i": bursts(*lengths)},
            outputs=["o"],
            cycles=cycles,
            beside=[drive],
        )
        assert logs["i"].items == bursts(*lengths)[: len(logs["i"].items)]
        return logs["o"].cycles

    def test_latency_and_rate(self):
        assert self.run([4, 4, 4], credits=16, held=16) == [1, 3, 5]

    def test_waits_for_credits(self):
        # Twelve of 20 are left; the thirteenth comes in cycle 10, and counts two cycles later.
        assert self.run([8, 13], credits=20, held=20, gained=[10]) == [1, 12]

    def test_waits_for_room(self):
        assert self.run([1], credits=4, held=4, room=lambda cycle: cycle >= 7) == [8]

    def test_largest_burst(self):
        assert self.run([256, 256], credits=512, held=512) == [1, 3]

    def test_conversion(self):
        dut = BurstGate(address_width=64, credits=512, held=512)
        rtlil.convert(dut, ports=[dut.o.valid, dut.i.valid])
        assert isinstance(dut.o.ready, Const)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"credits": 0}, ValueError, "Credits must be a positive integer, not 0"),
        ({"held": 9}, ValueError, "Held credits must be at most 8, not 9"),
        ({"held": "1"}, TypeError, "Held credits must be a positive integer, not '1'"),
    ],
)
def test_errors(changed, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BurstGate(**{"credits": 8, **changed})
