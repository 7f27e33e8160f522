"""Each call has one code; what is stuck ends; a reset waits for memory."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.supervisor import Supervisor

TIMEOUT = 20


def run(drive):
    """Run a testbench on a supervisor, and let the host take every code."""
    top = Module()
    top.submodules.dut = dut = Supervisor(timeout=TIMEOUT)
    top.d.sync += Signal().eq(0)
    codes = []

    async def testbench(ctx):
        ctx.set(dut.idle, 1)
        ctx.set(dut.finished.ready, 1)
        await drive(ctx, dut)

    async def host(ctx):
        sampled = (dut.finished.valid, dut.finished.ready, dut.finished.payload.code)
        async for _, _, valid, ready, code in ctx.tick().sample(*sampled):
            if valid and ready:
                codes.append(code)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.add_testbench(host, background=True)
    simulator.run()
    return codes


async def pulse(ctx, signal, cycles=1):
    ctx.set(signal, 1)
    for _ in range(cycles):
        await ctx.tick()
    ctx.set(signal, 0)


async def wait(ctx, n):
    for _ in range(n):
        await ctx.tick()


async def end(ctx, dut, failed=0):
    """Let a call run for a while and end."""
    ctx.set(dut.runs, 1)
    ctx.set(dut.failed, failed)
    await pulse(ctx, dut.moves, 3)
    await pulse(ctx, dut.ends)
    ctx.set(dut.runs, 0)


class TestCodes:
    @pytest.mark.parametrize(("failed", "code"), [(0, Code.OK), (2, Code.SLVERR), (3, Code.DECERR)])
    def test_of_a_call(self, failed, code):
        async def drive(ctx, dut):
            await end(ctx, dut, failed)
            await ctx.tick()
            assert ctx.get(dut.code) == code
            await wait(ctx, 3)

        assert run(drive) == [code]

    def test_of_a_call_that_was_refused(self):
        async def drive(ctx, dut):
            ctx.set(dut.refused.payload.code, Code.KIND)
            ctx.set(dut.refused.valid, 1)
            assert ctx.get(dut.refused.ready)
            await ctx.tick()
            ctx.set(dut.refused.valid, 0)
            assert ctx.get(dut.code) == Code.KIND
            await wait(ctx, 3)

        assert run(drive) == [Code.KIND]

    def test_one_that_ends_goes_first(self):
        async def drive(ctx, dut):
            ctx.set(dut.refused.payload.code, Code.HEADS)
            ctx.set(dut.refused.valid, 1)
            ctx.set(dut.runs, 1)
            ctx.set(dut.ends, 1)
            assert not ctx.get(dut.refused.ready)
            await ctx.tick()
            ctx.set(dut.ends, 0)
            ctx.set(dut.runs, 0)
            assert not ctx.get(dut.refused.ready)
            await ctx.tick()
            assert ctx.get(dut.refused.ready)
            await ctx.tick()
            ctx.set(dut.refused.valid, 0)
            await wait(ctx, 3)

        assert run(drive) == [Code.OK, Code.HEADS]

    def test_wait_for_the_host(self):
        """Eight of them, and no more calls are refused meanwhile."""

        async def drive(ctx, dut):
            ctx.set(dut.finished.ready, 0)
            ctx.set(dut.refused.valid, 1)
            taken = 0
            for number in range(12):
                ctx.set(dut.refused.payload.code, number)
                taken += ctx.get(dut.refused.ready)
                await ctx.tick()
            assert taken == 8
            ctx.set(dut.refused.valid, 0)
            ctx.set(dut.finished.ready, 1)
            await wait(ctx, 12)

        assert run(drive) == list(range(8))


class TestTimeout:
    @pytest.mark.parametrize("pause", [TIMEOUT - 1, TIMEOUT, TIMEOUT + 1, TIMEOUT + 5])
    def test_only_when_nothing_moves_for_long(self, pause):
        async def drive(ctx, dut):
            ctx.set(dut.runs, 1)
            await pulse(ctx, dut.moves)
            await wait(ctx, pause)
            assert ctx.get(dut.halt) == (pause > TIMEOUT)
            await pulse(ctx, dut.moves)
            ctx.set(dut.runs, 0)
            await wait(ctx, 3)

        assert set(run(drive)) == ({Code.TIMEOUT} if pause > TIMEOUT else set())

    def test_a_call_that_is_refused_meanwhile_keeps_its_code(self):
        """Whenever it comes: nothing is taken from it in a cycle that belongs to another one."""
        for start in range(TIMEOUT - 2, TIMEOUT + 6):

            async def drive(ctx, dut, start=start):
                ctx.set(dut.runs, 1)
                ctx.set(dut.refused.payload.code, Code.HEADS)
                refused = dropped = 0
                for cycle in range(TIMEOUT + 30):
                    ctx.set(dut.refused.valid, int(cycle >= start and not refused))
                    ctx.set(dut.runs, int(not dropped))
                    sampled = (dut.refused.valid, dut.refused.ready, dut.drops)
                    _, _, valid, ready, drops = await ctx.tick().sample(*sampled)
                    refused += valid & ready
                    dropped += drops

            assert sorted(run(drive)) == sorted([Code.HEADS, Code.TIMEOUT]), start

    def test_stays(self):
        """A call that times out ends at once, and so do those behind it; nothing is asked for."""

        async def drive(ctx, dut):
            ctx.set(dut.runs, 1)
            await wait(ctx, TIMEOUT + 1)
            assert ctx.get(dut.halt) and not ctx.get(dut.drops)
            await ctx.tick()
            assert ctx.get(dut.drops)
            await ctx.tick()
            ctx.set(dut.runs, 0)
            await wait(ctx, 3 * TIMEOUT)
            assert ctx.get(dut.halt) and not ctx.get(dut.drops)
            ctx.set(dut.runs, 1)
            await ctx.tick()
            assert ctx.get(dut.drops)
            await ctx.tick()
            ctx.set(dut.runs, 0)
            await wait(ctx, 3)

        assert run(drive) == [Code.TIMEOUT] * 2

    @pytest.mark.parametrize("late", range(-3, 1))
    def test_not_of_a_call_that_ends_just_then(self, late):
        async def drive(ctx, dut):
            ctx.set(dut.runs, 1)
            await wait(ctx, TIMEOUT + late)
            assert not ctx.get(dut.halt)
            await pulse(ctx, dut.ends)
            ctx.set(dut.runs, 0)
            await wait(ctx, 3)
            assert not ctx.get(dut.halt)
            await end(ctx, dut)
            await wait(ctx, 3)

        assert run(drive) == [Code.OK] * 2

    def test_never_without_a_call(self):
        async def drive(ctx, dut):
            await wait(ctx, 5 * TIMEOUT)
            assert not ctx.get(dut.halt)
            await end(ctx, dut)
            await wait(ctx, 3)

        assert run(drive) == [Code.OK]


class TestReset:
    @pytest.mark.parametrize("busy", [0, 1, 30])
    @pytest.mark.parametrize("stuck", [False, True])
    def test_waits_until_nothing_is_on_its_way(self, busy, stuck):
        async def drive(ctx, dut):
            ctx.set(dut.runs, 1)
            ctx.set(dut.idle, 0)
            await wait(ctx, 3)
            if stuck:
                await wait(ctx, TIMEOUT - 1)
                ctx.set(dut.runs, 0)
            ctx.set(dut.reset, 1)
            await ctx.tick()
            assert ctx.get(dut.halt) and ctx.get(dut.discards) and not ctx.get(dut.drops)
            for _ in range(busy):
                await ctx.tick()
                assert not ctx.get(dut.clears) and not ctx.get(dut.is_reset)
            ctx.set(dut.idle, 1)
            cleared = 0
            for _ in range(10):
                await ctx.tick()
                cleared += ctx.get(dut.clears)
                if ctx.get(dut.is_reset):
                    break
            assert ctx.get(dut.is_reset) and cleared
            assert ctx.get(dut.halt)
            ctx.set(dut.runs, 0)
            await wait(ctx, 5)
            assert ctx.get(dut.is_reset) and not ctx.get(dut.clears)
            ctx.set(dut.reset, 0)
            await ctx.tick()
            for signal in (dut.halt, dut.discards, dut.is_reset, dut.clears):
                assert not ctx.get(signal)
            await end(ctx, dut)
            await wait(ctx, 3)

        assert run(drive) == [Code.TIMEOUT, Code.OK][not stuck :]

    def test_looks_at_idle_after_the_halt(self):
        """What is idle when the reset comes may ask for something in that cycle."""

        async def drive(ctx, dut):
            ctx.set(dut.reset, 1)
            await ctx.tick()
            assert ctx.get(dut.halt)
            ctx.set(dut.idle, 0)  # it did
            await wait(ctx, 10)
            assert not ctx.get(dut.clears)
            ctx.set(dut.idle, 1)
            await wait(ctx, 4)
            assert ctx.get(dut.is_reset)

        assert run(drive) == []


def test_conversion():
    emit(Supervisor(timeout=1 << 20), verilog=True)


@pytest.mark.parametrize(
    ("timeout", "kind", "message"),
    [
        (0, ValueError, r"^Timeout must be a positive integer, not 0$"),
        (2.5, TypeError, r"^Timeout must be a positive integer, not 2\.5$"),
        ((1 << 30) + 1, ValueError, r"^Timeout must be at most 1073741824, not 1073741825$"),
    ],
)
def test_errors(timeout, kind, message):
    with pytest.raises(kind, match=message):
        Supervisor(timeout=timeout)
