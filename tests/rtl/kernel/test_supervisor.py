"""Each call has one code; what is stuck ends; a reset waits for memory."""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.control.handshake import FINISHED
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.supervisor import Supervisor
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness

TIMEOUT = 20
CODES = 8
WORKS, HALTS, DRAINS, CLEARS, IS_NEW = range(5)


class SupervisorClaims(Component):
    """Every call has one code; and when the engine is cleared, nothing is on its way.

    The engine runs a call at a time, asks for nothing in a halt, and says a cycle late whether it
    is idle. There are never more calls without a code that was taken than codes fit.
    """

    TIMEOUT = 3

    def __init__(self):
        inner = {
            "state": ("dut.fsm_state", 3),
            "stuck": ("dut.stuck", 1),
            "has_ended": ("dut.has_ended", 1),
            "patience": ("dut.patience", 2),
            "is_out": ("dut.is_out", 1),
            "level": ("dut.codes.level", range(CODES + 1)),
            "head": ("dut.codes.head", range(CODES)),
            "tail": ("dut.codes.tail", range(CODES)),
            "has_some": ("dut.codes.has_some", 1),
            "has_room": ("dut.codes.has_room", 1),
            "puts": ("dut.codes.i__valid", 1),
        }
        self.peek = {name: path for name, (path, _) in inner.items()}
        free = dict.fromkeys(("begins", "ends", "moves", "wants_reset", "asks", "answers"), In(1))
        code = stream.Signature(data.StructLayout({"code": 8}))
        super().__init__(
            {
                **free,
                **{name: In(shape) for name, (_, shape) in inner.items()},
                "failed": In(2),
                "refused": In(code),
                "finished": Out(stream.Signature(FINISHED)),
                "is_dropped": Out(1),
                "is_cleared": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Supervisor(timeout=self.TIMEOUT)
        connect_stream(m, wiring.flipped(self.refused), dut.refused)
        connect_stream(m, dut.finished, wiring.flipped(self.finished))
        obey(m, Assume, dut.refused, "refused")
        obey(m, Assert, dut.finished, "finished")
        running = self.claim_codes(m, dut)
        self.claim_reset(m, dut, running)
        self.claim_timeout(m, dut, running)
        return m

    def claim_codes(self, m, dut):
        """Claim a code for each call that ends, is dropped, or is refused; return what runs."""
        running = Signal()
        ended = Signal()
        owed = Signal(range(2 * CODES + 2))  # of what is inside, the call that is offered excepted
        begins = self.begins & ~running & ~dut.discards & (owed + dut.refused.valid < CODES)
        m.d.comb += [
            owed.eq(self.level + self.has_ended + running),
            Assume(~dut.refused.valid | (owed < CODES)),
            dut.runs.eq(running),
            dut.ends.eq(self.ends & running & ~dut.drops),
            dut.moves.eq(self.moves),
            dut.failed.eq(self.failed),
        ]
        m.d.sync += [
            running.eq(Mux(dut.ends | dut.drops | dut.clears, 0, running | begins)),
            ended.eq(dut.ends),
        ]
        refused = dut.refused.valid & dut.refused.ready
        m.d.comb += [
            Assert(self.puts == ended + dut.drops + refused),
            Assert(self.has_ended == ended),
            Assert(~self.puts | self.has_room),  # so that it is not lost
            Assert(~dut.drops | running),
            Assert((self.level <= CODES) & (owed <= CODES)),
            # Proven of the queue itself
            Assert(self.tail == (self.head + self.level)[: len(self.tail)]),
            Assert(self.has_some == (self.level != 0)),
            Assert(self.has_room == (self.level != CODES)),
        ]
        return running

    def claim_reset(self, m, dut, running):
        """Claim that an engine is cleared when it is empty, and asks for nothing before its end."""
        resets = Signal()
        out = Signal(2)  # asked for and not answered
        asks = self.asks & ~dut.halt & (out != 3)
        m.d.comb += dut.reset.eq(resets)
        m.d.sync += [
            resets.eq(Mux(dut.is_reset, 0, resets | self.wants_reset)),
            out.eq(out + asks - (self.answers & (out != 0))),
            dut.idle.eq(out == 0),
        ]
        m.d.comb += [
            Assert(self.state <= IS_NEW),
            Assert(dut.discards == (self.state != WORKS)),
            Assert(dut.is_reset == (self.state == IS_NEW)),
            Assert(dut.halt == (self.stuck | dut.discards)),
            Assert(~dut.clears | (self.state == CLEARS) | (self.state == IS_NEW)),
            Assert((self.state != CLEARS) | dut.clears),
            Assert(resets | (self.state == WORKS) | (self.state == IS_NEW)),
            self.is_cleared.eq(dut.clears & running),
        ]
        with m.If(dut.clears | dut.is_reset | ((self.state == DRAINS) & dut.idle)):
            m.d.comb += Assert(out == 0)
        with m.If(dut.is_reset):
            m.d.comb += Assert(~running & ~self.stuck)

    def claim_timeout(self, m, dut, running):
        """Claim that a call in which nothing moves ends, soon after its time is over."""
        quiet = Signal(4)  # cycles
        with m.If(self.moves | ~running):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != 15):
            m.d.sync += quiet.eq(quiet + 1)
        was_out = Signal()
        m.d.sync += was_out.eq(self.patience == 1)
        m.d.comb += [
            Assert(self.patience == Mux(quiet < self.TIMEOUT, self.TIMEOUT - quiet, 0)),
            Assert(self.is_out == was_out),
            self.is_dropped.eq(dut.drops),
        ]
        with m.If(running & ~dut.discards):
            m.d.comb += Assert(quiet <= self.TIMEOUT + 2)


@pytest.fixture(scope="module")
def claims(require):
    require("yosys")
    wrapper = SupervisorClaims()
    return wrapper, emit(wrapper, name="claims")


def test_proof(claims):
    wrapper, design = claims
    prove(design, depth=4, peek=wrapper.peek)


@pytest.mark.parametrize("port", ["is_dropped", "is_cleared"])
def test_witness(claims, port):
    _, design = claims
    assert witness(design, port, depth=12) > 4


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


async def end(ctx, dut, failed=0, changed=0):
    """Let a call run for a while and end."""
    ctx.set(dut.runs, 1)
    ctx.set(dut.failed, failed)
    ctx.set(dut.changed, changed)
    await pulse(ctx, dut.moves, 3)
    await pulse(ctx, dut.ends)
    ctx.set(dut.runs, 0)


class TestCodes:
    @pytest.mark.parametrize(
        ("failed", "changed", "code"),
        [
            (0, 0, Code.OK),
            (2, 0, Code.SLVERR),
            (3, 0, Code.DECERR),
            (0, 1, Code.CHANGED),
            (2, 1, Code.SLVERR),  # what an error has brought may differ
        ],
    )
    def test_of_a_call(self, failed, changed, code):
        async def drive(ctx, dut):
            await end(ctx, dut, failed, changed)
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
