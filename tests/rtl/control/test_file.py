import random
from functools import partial

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Lite
from qkloom.rtl.component import Component
from qkloom.rtl.control import Field, Register, RegisterFile
from qkloom.rtl.stream import connect_stream
from qkloom.tb.control import Host
from qkloom.tb.formal import obey, prove, witness

FLAGS = (Field("a", 3, ""), Field("b", 1, ""))
REGISTERS = (
    Register("order", 0x00, "act", "", fields=FLAGS),
    Register("one", 0x10, "rw", ""),
    Register("few", 0x14, "rw", "", fields=FLAGS),
    Register("pair", 0x38, "rw", "", width=64),  # its words are the last ones of a group
    Register("said", 0x40, "ro", ""),
    Register("count", 0x48, "ro", "", width=64),
    Register("same", 0x50, "ro", "", width=64, constant=0x0123_4567_89AB_CDEF),
    Register("far", 0xFC, "rw", "", is_signed=True),
)
UNMAPPED = (0x04, 0x18, 0x34, 0x44, 0x58, 0x80, 0xF8, 0x100, 0x138, 0xFFC)
# As far as all but one bit say, there are registers here.
UNMAPPED += (0x410, 0x214, 0x810, 0x438, 0x840, 0x448, 0x254, 0x4FC, 0x8FC)


def run(test, *, pace=1.0, seed=0, background=(), registers=REGISTERS):
    dut = RegisterFile(registers=registers)
    host = Host(dut.bus, registers, pace=pace, seed=seed)

    async def drive(ctx):
        await test(ctx, dut, host)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    for process in background:
        simulator.add_testbench(partial(process, dut=dut), background=True)
    simulator.run()


def bits(view):
    return Value.cast(view)


class TestBehaviour:
    @pytest.mark.parametrize("pace", [1, 0.5, 0.2])
    def test_random_traffic(self, pace):
        async def test(ctx, dut, host):
            rng = random.Random(5)
            masks = {r.name: r.mask for r in REGISTERS}
            expected = {"one": 0, "few": 0, "pair": 0, "far": 0}
            ctx.set(dut.status.said, 0xCAFE_F00D)
            ctx.set(dut.status.count, 0xFEDC_BA98_7654_3210)
            fixed = {
                "said": 0xCAFE_F00D,
                "count": 0xFEDC_BA98_7654_3210,
                "same": 0x0123_4567_89AB_CDEF,
            }
            for _ in range(60):
                name = rng.choice(list(masks))
                value, strobes = rng.getrandbits(64), rng.choice([0xF, rng.getrandbits(4)])
                await host.write(ctx, name, value, strobes=strobes)
                if name in expected:
                    kept = sum(
                        0xFF << 32 * word + 8 * byte
                        for word in range(2)
                        for byte in range(4)
                        if not strobes >> byte & 1
                    )
                    new = expected[name] & kept | value & ~kept
                    expected[name] = new & masks[name]
                for name, value in expected.items():
                    mask = masks[name]
                    assert ctx.get(bits(dut.values[name])) & mask == value, name
                name = rng.choice(list(expected | fixed))
                assert await host.read(ctx, name) == (expected | fixed)[name]

        run(test, pace=pace, seed=3)

    def test_unmapped(self):
        async def test(ctx, dut, host):
            for name in ("one", "few", "pair", "far"):
                await host.write(ctx, name, 2**64 - 1)
            before = ctx.get(bits(dut.values))
            for address in UNMAPPED:
                await host.write(ctx, address, 0x1234_5678)
                assert await host.read(ctx, address) == 0
            for address in (0x40, 0x48, 0x50):
                await host.write(ctx, address, 0x1234_5678)
            assert ctx.get(bits(dut.values)) == before

        run(test)

    def test_orders_last_a_cycle(self):
        seen = []

        async def watch(ctx, dut):
            async for _, _, order in ctx.tick().sample(bits(dut.values.order)):
                if order:
                    seen.append(order)

        async def test(ctx, dut, host):
            await host.write(ctx, "order", 0b1101)
            await host.write(ctx, "order", 0b1101, strobes=0b1110)
            await host.write(ctx, "order", 0)
            await host.write(ctx, "order", 2)
            ctx.set(bits(dut.status.order), 9)
            assert await host.read(ctx, "order") == 9
            await ctx.tick()

        run(test, background=[watch])
        assert seen == [13, 2]

    def test_reads_say_when_status_is_looked_at(self):
        looked = []

        async def rise(ctx, dut):
            for n in range(100):
                ctx.set(bits(dut.status.order), n % 16)
                _, _, looks = await ctx.tick().sample(dut.reads.order)
                if looks:
                    looked.append(n % 16)

        async def test(ctx, dut, host):
            found = [await host.read(ctx, "order") for _ in range(5)]
            await host.read(ctx, "one")
            assert found == looked

        run(test, pace=0.6, background=[rise])
        assert len(looked) == 5

    def test_latency_and_rate(self):
        async def test(ctx, dut, host):
            data, cycles = await host.read_word(ctx, 0x10)
            assert (data, cycles) == (0, 3)
            assert await host.write(ctx, "one", 5) == 3
            assert ctx.get(dut.values.one) == 5

        run(test)

        async def flood(ctx, dut, host):
            bus = dut.bus
            for channel in (bus.aw, bus.w, bus.ar):
                ctx.set(channel.valid, 1)
            for channel in (bus.b, bus.r):
                ctx.set(channel.ready, 1)
            answered = {"b": [], "r": []}
            for cycle in range(40):
                _, _, b, r = await ctx.tick().sample(bus.b.valid, bus.r.valid)
                answered["b"] += [cycle] * b
                answered["r"] += [cycle] * r
            assert answered == {"b": list(range(3, 40, 3)), "r": list(range(3, 40, 4))}

        run(flood)

    @pytest.mark.parametrize("first", ["aw", "w"])
    def test_either_first_and_answers_hold(self, first):
        async def test(ctx, dut, host):
            bus = dut.bus
            second = {"aw": "w", "w": "aw"}[first]
            ctx.set(bus.aw.payload.addr, 0x10)
            ctx.set(bus.w.payload, {"data": 77, "strb": 0xF})
            for name in (first, second):
                assert not ctx.get(bus.b.valid)
                channel = getattr(bus, name)
                ctx.set(channel.valid, 1)
                await ctx.tick().until(channel.ready)
                ctx.set(channel.valid, 0)
                for _ in range(5):
                    await ctx.tick()
            assert ctx.get(bus.b.valid)
            for _ in range(20):  # nobody takes the answer
                await ctx.tick()
                assert ctx.get(bus.b.valid)
            assert ctx.get(dut.values.one) == 77

        run(test)


class FileClaims(Component):
    """What AXI4-Lite demands: answers hold, one for each transaction, and none before it."""

    def __init__(self):
        self.registers = REGISTERS[1:3]
        inner = ("commits", "looks", "chooses")
        self.peek = {name: f"dut.{name}" for name in inner}
        ports = {"bus": In(AXI4Lite(address_width=6)), "answered": Out(1)}
        super().__init__({**ports, **dict.fromkeys(inner, In(1))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = RegisterFile(registers=self.registers, address_width=6)
        for name in ("aw", "w", "ar"):
            connect_stream(m, wiring.flipped(getattr(self.bus, name)), getattr(dut.bus, name))
            obey(m, Assume, getattr(dut.bus, name), name)
        for name in ("b", "r"):
            connect_stream(m, getattr(dut.bus, name), wiring.flipped(getattr(self.bus, name)))
            obey(m, Assert, getattr(dut.bus, name), name)
            m.d.comb += Assert(Value.cast(getattr(dut.bus, name).payload.resp) == 0)
        # Asked and not yet answered: 1 at most, but for a write whose answer is being waited for
        # while the next one has come.
        asked = {}
        for question, answer, most in (("aw", "b", 2), ("w", "b", 2), ("ar", "r", 1)):
            q, a = getattr(dut.bus, question), getattr(dut.bus, answer)
            n = asked[question] = Signal(range(4), name=f"asked_{question}")
            m.d.sync += n.eq(n + (q.valid & q.ready) - (a.valid & a.ready))
            m.d.comb += Assert(n <= most)
            with m.If(a.valid):
                m.d.comb += Assert(n > 0)
        # Of the inner state: a channel that is not ready holds something.
        b, r = dut.bus.b, dut.bus.r
        for name in ("aw", "w"):
            m.d.comb += Assert(asked[name] == b.valid + ~getattr(dut.bus, name).ready)
        m.d.comb += [
            Assert(asked["ar"] == ~dut.bus.ar.ready),
            Assert(dut.bus.ar.ready + self.looks + self.chooses + r.valid == 1),
        ]
        with m.If(self.commits):
            m.d.comb += Assert(~dut.bus.aw.ready & ~dut.bus.w.ready & ~b.valid)

        # Never stuck: an answer comes three cycles after the whole question at the latest.
        for name, open_, answered in (
            ("writes", ~dut.bus.aw.ready & ~dut.bus.w.ready, b),
            ("reads", ~dut.bus.ar.ready, r),
        ):
            waits = Signal(range(8), name=f"{name}_wait")
            with m.If(open_ & ~answered.valid):
                m.d.sync += waits.eq(waits + 1)
            with m.Else():
                m.d.sync += waits.eq(0)
            m.d.comb += Assert(waits < 3)
        m.d.comb += self.answered.eq(b.valid & r.valid & (asked["aw"] == 2))
        return m


def test_proof(require):
    require("yosys")
    claims = FileClaims()
    design = emit(claims, name="claims")
    prove(design, depth=8, peek=claims.peek)
    assert witness(design, "answered", depth=10) > 4


class TestConstructor:
    def test_attributes(self):
        dut = RegisterFile(registers=REGISTERS[::-1], address_width=8)
        assert dut.registers == REGISTERS
        members = dut.signature.members
        assert members["bus"] == In(AXI4Lite(address_width=8))
        flags = data.StructLayout({"a": 3, "b": 1})
        assert members["status"].shape == data.StructLayout(
            {"order": flags, "said": 32, "count": 64}
        )
        assert members["reads"].shape == data.StructLayout({"order": 1})
        assert list(members["values"].shape.members) == ["order", "one", "few", "pair", "far"]

    def test_errors(self):
        with pytest.raises(TypeError, match=r"^Address width must be a positive integer, not '8'$"):
            RegisterFile(registers=REGISTERS, address_width="8")
        with pytest.raises(ValueError, match=r"^Register far must lie below 0x80, not at 0xfc$"):
            RegisterFile(registers=REGISTERS, address_width=7)

    def test_conversion(self):
        design = emit(RegisterFile(registers=REGISTERS), verilog=True)
        assert "module register_file" in design.verilog
        assert [port.name for port in design.ports][-3:] == ["values", "status", "reads"]
