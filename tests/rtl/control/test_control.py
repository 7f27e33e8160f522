import random
from functools import partial

import pytest
from amaranth.hdl import Value
from amaranth.lib import data
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Lite
from qkloom.rtl.control import Control, Register, all_registers, kernel_registers, reset_register
from qkloom.tb.control import Host

ARGUMENTS = (
    Register("buffer", 0x10, "rw", "", width=64),
    Register("n", 0x18, "rw", ""),
)
STATUS = (
    Register("version", 0x20, "ro", "", constant=7),
    Register("done", 0x28, "ro", "", width=64),
)
START, DONE, IDLE, READY, CONTINUE = (1 << n for n in range(5))


class Kernel:
    """Takes calls and finishes them, in order, each after a while; drops all when it is reset."""

    def __init__(self, *, seed=0, pace=1.0, holds=False, codes=()):
        self.rng, self.pace, self.holds = random.Random(f"{seed} kernel"), pace, holds
        self.codes = codes
        self.taken, self.open, self.said = [], [], 0
        self.interrupts = 0
        self.finishes_late = 0  # so many calls are still finished after a reset was asked for

    async def process(self, ctx, dut):
        call, finished = dut.call, dut.finished
        offered = False
        while True:
            resets = ctx.get(dut.reset)
            ctx.set(call.ready, resets or self.rng.random() < self.pace)
            ctx.set(dut.is_reset, 0)
            if resets and not offered:
                self.open = self.open[: self.finishes_late]
                ctx.set(dut.is_reset, not self.open and self.rng.random() < self.pace)
            if not offered and self.open and not self.holds and self.rng.random() < self.pace:
                ctx.set(finished.valid, 1)
                ctx.set(finished.payload.code, self.codes[self.said] if self.codes else 0)
            offered = ctx.get(finished.valid)
            ctx.set(dut.status.done, self.said)
            _, _, valid, ready, item, takes, interrupt = await ctx.tick().sample(
                call.valid, call.ready, Value.cast(call.payload), finished.ready, dut.interrupt
            )
            self.interrupts += interrupt
            if offered and takes:
                self.said += 1
                self.open.pop(0)
                ctx.set(finished.valid, 0)
                ctx.set(finished.payload.code, 0xFF)
                offered = False
            if valid and ready:
                self.taken.append((item & 2**64 - 1, item >> 64))
                self.open.append(item)


def run(test, kernel=None, *, pace=1.0, seed=0, **parameters):
    dut = Control(arguments=ARGUMENTS, status=STATUS, **parameters)
    host = Host(dut.bus, dut.registers, pace=pace, seed=seed)
    kernel = kernel or Kernel()

    async def drive(ctx):
        await test(ctx, dut, host, kernel)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(partial(kernel.process, dut=dut), background=True)
    simulator.run()


async def ticks(ctx, n):
    for _ in range(n):
        await ctx.tick()


async def start(ctx, host, buffer, n):
    await host.write(ctx, "buffer", buffer)
    await host.write(ctx, "n", n)
    await host.write(ctx, "control", START)


async def until(ctx, host, name, mask, value):
    for _ in range(200):
        found = await host.read(ctx, name)
        if found & mask == value:
            return found
    raise AssertionError(f"{name} never shows {value:#x} in {mask:#x}")


class TestCalls:
    def test_one(self):
        async def test(ctx, dut, host, kernel):
            assert await host.read(ctx, "control") == IDLE
            assert await host.read(ctx, "version") == 7
            await start(ctx, host, 0x1234_5678_9ABC_DEF0, 5)
            found = await until(ctx, host, "control", DONE, DONE)
            assert found & (START | IDLE) == IDLE
            await ticks(ctx, 20)  # and stays
            assert await host.read(ctx, "control") == DONE | IDLE
            await host.write(ctx, "control", CONTINUE)
            assert await host.read(ctx, "control") == IDLE
            assert kernel.taken == [(0x1234_5678_9ABC_DEF0, 5)]
            assert await host.read(ctx, "done") == 1

        run(test)

    @pytest.mark.parametrize("pace", [1, 0.4])
    def test_as_xrt_does(self, pace):
        """Start whenever ap_start reads 0; acknowledge whenever ap_done reads 1."""
        calls = [(random.Random(n).getrandbits(64), n) for n in range(12)]

        async def test(ctx, dut, host, kernel):
            left, done = list(calls), 0
            for _ in range(400):
                control = await host.read(ctx, "control")
                if control & DONE:
                    await host.write(ctx, "control", CONTINUE)
                    done += 1
                if left and not control & START:
                    await start(ctx, host, *left.pop(0))
                if done == len(calls):
                    break
            assert done == len(calls)
            await ticks(ctx, 50)
            assert await host.read(ctx, "control") & ~READY == IDLE

        kernel = Kernel(pace=pace, seed=4)
        run(test, kernel, pace=pace, seed=2)
        assert kernel.taken == calls

    @pytest.mark.parametrize("calls", [1, 2, 4])
    def test_queue(self, calls):
        """Calls wait, and one start more stays in ap_start until there is room."""

        async def test(ctx, dut, host, kernel):
            for n in range(calls):
                await start(ctx, host, n, n)
                assert await host.read(ctx, "control") == READY  # and that clears it
                assert await host.read(ctx, "control") == 0
            await start(ctx, host, 99, 99)
            await ticks(ctx, 30)
            assert await host.read(ctx, "control") == START
            await host.write(ctx, "control", 0)  # a 0 takes nothing back
            assert await host.read(ctx, "control") == START
            kernel.holds = False
            await until(ctx, host, "control", DONE | START, DONE)
            # The others finish one by one, each only after its predecessor was acknowledged.
            for n in range(calls + 1):
                await ticks(ctx, 30)
                assert kernel.said == n + 1
                assert await host.read(ctx, "control") & DONE
                await host.write(ctx, "control", CONTINUE)
            await ticks(ctx, 30)
            assert await host.read(ctx, "control") & (DONE | IDLE) == IDLE

        kernel = Kernel(holds=True)
        run(test, kernel, calls=calls)
        assert kernel.taken == [*((n, n) for n in range(calls)), (99, 99)]

    def test_arguments_are_captured(self):
        async def test(ctx, dut, host, kernel):
            await start(ctx, host, 1, 2)
            await host.write(ctx, "buffer", 3)
            await host.write(ctx, "n", 4)
            kernel.pace = 1
            await ticks(ctx, 10)
            await host.write(ctx, "control", START)
            await ticks(ctx, 10)

        kernel = Kernel(pace=0)
        run(test, kernel)
        assert kernel.taken == [(1, 2), (3, 4)]

    def test_call_holds_and_latency(self):
        async def test(ctx, dut, host, kernel):
            await start(ctx, host, 1, 2)  # the cycle after the order and its answer
            assert not ctx.get(dut.call.valid)
            await ctx.tick()
            for _ in range(30):
                assert ctx.get(dut.call.valid)
                assert ctx.get(Value.cast(dut.call.payload)) == 2 << 64 | 1
                await ctx.tick()

        run(test, Kernel(pace=0))

    def test_codes(self):
        codes = [3, 0, 200]

        async def test(ctx, dut, host, kernel):
            for n in range(3):
                await start(ctx, host, n, n)
            for code in codes:
                await until(ctx, host, "control", DONE, DONE)
                await ticks(ctx, 20)
                assert ctx.get(dut.code) == code
                await host.write(ctx, "control", CONTINUE)

        run(test, Kernel(codes=codes))


class TestInterrupts:
    async def enable(self, ctx, host, mask):
        await host.write(ctx, "interrupt_enable", mask)
        await host.write(ctx, "global_interrupt_enable", 1)

    @pytest.mark.parametrize("pace", [1, 0.4])
    def test_done(self, pace):
        async def test(ctx, dut, host, kernel):
            await self.enable(ctx, host, 1)
            for n in range(4):
                await start(ctx, host, n, n)
            for _ in range(4):
                for _ in range(300):
                    if ctx.get(dut.interrupt):
                        break
                    await ctx.tick()
                assert ctx.get(dut.interrupt)
                status = await host.read(ctx, "interrupt_status")
                assert status == 1
                assert await host.read(ctx, "control") & DONE
                # Cleared too early, it comes again: ap_done is still there.
                await host.write(ctx, "interrupt_status", status)
                await ticks(ctx, 2)
                assert ctx.get(dut.interrupt)
                kernel.holds = True
                await host.write(ctx, "control", CONTINUE)
                await host.write(ctx, "interrupt_status", 1)
                await ticks(ctx, 2)
                if not await host.read(ctx, "control") & DONE:
                    assert not ctx.get(dut.interrupt)
                    assert await host.read(ctx, "interrupt_status") == 0
                kernel.holds = False

        run(test, Kernel(pace=pace, seed=1), pace=pace, seed=6)

    def test_none_is_lost(self):
        """The next call is done before the status of the one before is cleared."""

        async def test(ctx, dut, host, kernel):
            await self.enable(ctx, host, 1)
            for n in range(2):
                await start(ctx, host, n, n)
            await until(ctx, host, "control", DONE, DONE)
            await ticks(ctx, 30)
            await host.write(ctx, "control", CONTINUE)
            await ticks(ctx, 30)
            assert kernel.said == 2
            await host.write(ctx, "interrupt_status", 1)
            await ticks(ctx, 3)
            assert ctx.get(dut.interrupt)

        run(test)

    def test_ready(self):
        async def test(ctx, dut, host, kernel):
            await self.enable(ctx, host, 2)
            await start(ctx, host, 1, 1)
            await ticks(ctx, 5)
            assert ctx.get(dut.interrupt)
            assert await host.read(ctx, "interrupt_status") == 2
            await host.write(ctx, "interrupt_status", 2)
            await ticks(ctx, 3)
            assert not ctx.get(dut.interrupt)

        run(test, Kernel(holds=True))

    def test_toggles_on_write(self):
        async def test(ctx, dut, host, kernel):
            await host.write(ctx, "interrupt_status", 3)
            assert await host.read(ctx, "interrupt_status") == 3
            await host.write(ctx, "interrupt_status", 1)
            assert await host.read(ctx, "interrupt_status") == 2
            await host.write(ctx, "interrupt_status", 0)
            assert await host.read(ctx, "interrupt_status") == 2
            assert not ctx.get(dut.interrupt)  # not enabled
            await host.write(ctx, "global_interrupt_enable", 1)
            await ticks(ctx, 2)
            assert ctx.get(dut.interrupt)

        run(test)

    def test_not_enabled(self):
        async def test(ctx, dut, host, kernel):
            await host.write(ctx, "interrupt_enable", 3)  # but not globally
            await start(ctx, host, 1, 1)
            await until(ctx, host, "control", DONE, DONE)
            assert await host.read(ctx, "interrupt_status") == 3
            await host.write(ctx, "control", CONTINUE)
            await host.write(ctx, "interrupt_status", 3)
            await self.enable(ctx, host, 0)
            await start(ctx, host, 1, 1)
            await until(ctx, host, "control", DONE, DONE)
            assert await host.read(ctx, "interrupt_status") == 0

        kernel = Kernel()
        run(test, kernel)
        assert not kernel.interrupts


class TestReset:
    @pytest.mark.parametrize("pace", [1, 0.3])
    def test_drops_all_calls(self, pace):
        async def test(ctx, dut, host, kernel):
            await host.write(ctx, "interrupt_enable", 3)
            for n in range(5):  # four captured, the fifth in ap_start
                await start(ctx, host, n, n)
            await ticks(ctx, 20)
            assert await host.read(ctx, "interrupt_status") == 2
            await host.write(ctx, "reset", 1)
            await until(ctx, host, "reset", 1, 0)
            assert await host.read(ctx, "control") == IDLE
            assert await host.read(ctx, "interrupt_status") == 0
            assert not ctx.get(dut.call.valid) and not ctx.get(dut.reset)
            assert await host.read(ctx, "n") == 4  # registers keep their values
            kernel.taken.clear()
            kernel.holds = False
            for n in range(6):  # as many calls as ever
                await start(ctx, host, n, n)
                await until(ctx, host, "control", DONE, DONE)
                await host.write(ctx, "control", CONTINUE)
            assert kernel.taken == [(n, n) for n in range(6)]

        run(test, Kernel(holds=True, pace=pace, seed=1), pace=pace, seed=1)

    def test_what_finishes_meanwhile_is_dropped(self):
        async def test(ctx, dut, host, kernel):
            for n in range(3):
                await start(ctx, host, n, n)
            await ticks(ctx, 20)
            kernel.finishes_late = 2
            await host.write(ctx, "reset", 1)
            kernel.holds, kernel.pace = False, 0.02
            for _ in range(60):
                control = await host.read(ctx, "control")
                if not await host.read(ctx, "reset"):
                    break
                assert not control & DONE
            assert kernel.said == 2
            assert await host.read(ctx, "control") & ~READY == IDLE

        run(test, Kernel(holds=True, seed=1))

    def test_what_waits_to_be_finished_is_dropped(self):
        async def test(ctx, dut, host, kernel):
            for n in range(3):
                await start(ctx, host, n, n)
            await until(ctx, host, "control", DONE, DONE)
            await ticks(ctx, 20)
            assert ctx.get(dut.finished.valid)
            await host.write(ctx, "reset", 1)
            await until(ctx, host, "reset", 1, 0)
            assert await host.read(ctx, "control") == IDLE

        run(test)

    def test_waits_for_the_kernel(self):
        async def test(ctx, dut, host, kernel):
            await start(ctx, host, 1, 1)
            await until(ctx, host, "control", DONE, DONE)
            kernel.pace = 0
            await host.write(ctx, "reset", 1)
            await ticks(ctx, 30)
            assert ctx.get(dut.reset)
            assert await host.read(ctx, "reset") == 1
            await host.write(ctx, "control", START)  # nothing starts meanwhile
            assert await host.read(ctx, "control") & (START | IDLE) == 0
            kernel.pace = 1
            await ticks(ctx, 3)
            assert not ctx.get(dut.reset)
            assert await host.read(ctx, "control") == IDLE

        run(test)


class TestConstructor:
    def test_members(self):
        dut = Control(arguments=ARGUMENTS, status=STATUS)
        members = dut.signature.members
        assert members["bus"] == In(AXI4Lite(address_width=12))
        assert members["status"].shape == data.StructLayout({"done": 64})
        assert list(members) == [
            "bus",
            "status",
            "call",
            "finished",
            "code",
            "interrupt",
            "reset",
            "is_reset",
        ]
        assert reset_register(ARGUMENTS).offset == 0x1C
        assert set(dut.registers) == set(all_registers(ARGUMENTS, STATUS))

    def test_errors(self):
        with pytest.raises(ValueError, match=r"^Status must have access ro, and n has rw$"):
            Control(arguments=ARGUMENTS, status=ARGUMENTS[1:])
        early = Register("early", 0x0C, "rw", "")
        with pytest.raises(ValueError, match=r"^Registers must not overlap, and interrupt_status"):
            Control(arguments=(early,), status=())
        late = Register("late", 0x1C, "ro", "")
        with pytest.raises(ValueError, match=r"^Registers must not overlap, and reset"):
            Control(arguments=ARGUMENTS, status=(late,))

    def test_conversion(self):
        channels = dict(q_channels=2, k_channels=4, v_channels=4, o_channels=2)
        kernel = kernel_registers(**channels, stalls=(("keys", "of waiting for keys"),))
        texts = {
            emit(Control(arguments=kernel.arguments, status=kernel.status), verilog=True).verilog
            for _ in range(2)
        }
        assert len(texts) == 1
        assert texts.pop().count("module queue") == 2  # not more than 1,024 bits each
