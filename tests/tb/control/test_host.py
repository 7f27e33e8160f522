import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from qkloom.rtl.axi import AXI4Lite
from qkloom.rtl.control import Register, RegisterFile
from qkloom.tb.control import Host

WIDE = Register("wide", 0x18, "rw", "", width=64)


def talk(test, dut, answer=None):
    async def drive(ctx):
        await test(ctx)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    if answer is not None:
        simulator.add_testbench(answer, background=True)
    simulator.run()


@pytest.mark.parametrize("pace", [1, 0.3])
def test_words(pace):
    dut = RegisterFile(registers=(WIDE,))
    host = Host(dut.bus, (WIDE,), pace=pace, seed=1)

    async def test(ctx):
        await host.write(ctx, "wide", 0x0123_4567_89AB_CDEF)
        assert await host.read(ctx, "wide") == 0x0123_4567_89AB_CDEF
        assert await host.read(ctx, 0x18) == 0x89AB_CDEF
        assert await host.read(ctx, 0x1C) == 0x0123_4567
        await host.write(ctx, 0x1C, 0xFFFF_FFFF, strobes=0b0100)
        assert await host.read(ctx, 0x1C) == 0x01FF_4567

    talk(test, dut)


class Wrong:
    """A port that is driven by a test, in no component."""

    def __init__(self):
        self.bus = AXI4Lite(address_width=8).create()

    def run(self, ask, answer):
        m = Module()
        m.d.sync += Signal().eq(1)  # for a clock
        bus = self.bus

        async def test(ctx):
            await ask(ctx, Host(bus, pace=0.05, seed=5))

        talk(test, m, answer)


async def read(ctx, host):
    await host.read(ctx, 0)


async def write(ctx, host):
    await host.write(ctx, 0, 1)


class TestFindsMistakes:
    def test_withdrawn_read(self):
        wrong = Wrong()
        bus = wrong.bus

        async def answer(ctx):
            ctx.set(bus.ar.ready, 1)
            await ctx.tick().until(bus.ar.valid)
            for n in range(1000):
                ctx.set(bus.r.valid, n % 2)
                await ctx.tick()

        with pytest.raises(AssertionError, match=r"^a read answer was withdrawn"):
            wrong.run(read, answer)

    def test_changed_read(self):
        wrong = Wrong()
        bus = wrong.bus

        async def answer(ctx):
            ctx.set(bus.ar.ready, 1)
            await ctx.tick().until(bus.ar.valid)
            for n in range(1000):
                ctx.set(bus.r.valid, 1)
                ctx.set(bus.r.payload.data, n)
                await ctx.tick()

        with pytest.raises(AssertionError, match=r"^a read answer was withdrawn"):
            wrong.run(read, answer)

    def test_early_write_answer(self):
        wrong = Wrong()
        bus = wrong.bus

        async def answer(ctx):
            ctx.set(bus.aw.ready, 1)
            ctx.set(bus.w.ready, 0)
            await ctx.tick().until(bus.aw.valid)
            for _ in range(1000):
                ctx.set(bus.b.valid, 1)
                await ctx.tick()

        with pytest.raises(AssertionError, match=r"^an answer before the write was whole"):
            wrong.run(write, answer)

    def test_early_read_answer(self):
        wrong = Wrong()
        bus = wrong.bus

        async def answer(ctx):
            ctx.set(bus.r.valid, 1)
            for _ in range(1000):
                await ctx.tick()

        with pytest.raises(AssertionError):
            wrong.run(read, answer)

    def test_withdrawn_write_answer(self):
        wrong = Wrong()
        bus = wrong.bus

        async def answer(ctx):
            ctx.set(bus.aw.ready, 1)
            ctx.set(bus.w.ready, 1)
            await ctx.tick().until(bus.aw.valid)
            for _ in range(200):
                await ctx.tick()
            for n in range(1000):
                ctx.set(bus.b.valid, n % 2)
                await ctx.tick()

        with pytest.raises(AssertionError, match=r"^a write answer was withdrawn"):
            wrong.run(write, answer)
