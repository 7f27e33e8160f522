"""The board: its clock, its buttons and its LEDs, around a self test that passes and fails."""

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.platforms.ulx3s.top import Ulx3sSelfTest

WAIT = 8


def run(scenario):
    dut = Ulx3sSelfTest(wait=WAIT)
    simulator = Simulator(dut)

    async def bench(ctx):
        async def cycles(n, *, until=None):
            for count in range(n):
                ctx.set(dut.clk25, 1)
                await ctx.delay(2e-8)
                ctx.set(dut.clk25, 0)
                await ctx.delay(2e-8)
                if until is not None and ctx.get(until):
                    return count
            return n

        await scenario(ctx, dut, cycles)

    simulator.add_testbench(bench)
    simulator.run()


def test_scenario():
    async def scenario(ctx, dut, cycles):
        def leds():
            return tuple(ctx.get(led) for led in (dut.led_running, dut.led_passed, dut.led_failed))

        assert leds() == (1, 0, 0)
        assert ctx.get(dut.esp32_gpio0) == 1
        assert await cycles(900, until=dut.led_passed) < 900
        assert leds() == (1, 1, 0)
        # Expect something wrong, for as long as a person presses a button.
        ctx.set(dut.spoil, 1)
        assert await cycles(900, until=dut.led_failed) < 900
        assert leds() == (0, 0, 1)
        ctx.set(dut.spoil, 0)
        await cycles(20)
        assert leds() == (0, 0, 1)
        # Begin anew.
        ctx.set(dut.restart, 1)
        await cycles(5)
        assert leds() == (1, 0, 0)
        ctx.set(dut.restart, 0)
        assert await cycles(900, until=dut.led_passed) > WAIT
        assert leds() == (1, 1, 0)

    run(scenario)


def test_ports():
    ports = {port.name: (port.width, port.is_input) for port in emit(Ulx3sSelfTest()).ports}
    assert ports == {
        "clk25": (1, True),
        "restart": (1, True),
        "spoil": (1, True),
        "led_running": (1, False),
        "led_passed": (1, False),
        "led_failed": (1, False),
        "led_calls": (5, False),
        "esp32_gpio0": (1, False),
    }


def test_bad_wait():
    with pytest.raises(ValueError, match=r"^Wait must be a power of two, not 3$"):
        Ulx3sSelfTest(wait=3)
