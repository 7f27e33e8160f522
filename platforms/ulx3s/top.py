"""The top of a ULX3S board: the self test, buttons and LEDs."""

from typing import Any

from amaranth.hdl import Cat, ClockDomain, DomainRenamer, Module, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ...rtl.component import Component
from ..selftest import CORE, SelfTest
from .restart import Restart

__all__ = ["CLOCK_HZ", "Ulx3sSelfTest"]

CLOCK_HZ = 25_000_000
"""Of the board's oscillator."""

_BLINK = 16
"""First bit shown of the number of calls: each takes hundreds of cycles, too few to be seen."""


class Ulx3sSelfTest(Component):
    """Attention on a ULX3S, checked bit by bit, and shown by LEDs.

    Parameters
    ----------
    seed : int
        Of the tensors.
    wait : int
        Cycles of reset after a button was let go; a power of two. The default is 42 ms.

    Members
    -------
    clk25 : In(1)
        The clock of the board, 25 MHz.
    restart : In(1)
        Button: begin anew.
    spoil : In(1)
        Button: expect wrong outputs, so that the test fails until it is restarted.
    led_running, led_passed, led_failed : Out(1)
        Running goes out when something failed. Passed comes on once the call was computed, right in
        all bits.
    led_calls : Out(5)
        How many calls were computed, in units of 65,536: a count that one can watch.
    esp32_gpio0 : Out(1)
        Always 1: when it is low, the board's ESP32 takes over and loads another bitstream.

    Raises
    ------
    TypeError, ValueError
        When ``wait`` is not a power of two.
    """

    def __init__(self, *, seed: int = 0, wait: int = 1 << 20) -> None:
        self._restart = Restart(wait=wait)
        self._test = SelfTest(seed=seed, **CORE)
        super().__init__(
            {
                "clk25": In(1),
                "restart": In(1),
                "spoil": In(1),
                "led_running": Out(1),
                "led_passed": Out(1),
                "led_failed": Out(1),
                "led_calls": Out(5),
                "esp32_gpio0": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Make a clock domain with a reset of its own, and put the self test into it."""
        m = Module()
        m.domains.power_up = power_up = ClockDomain(reset_less=True)
        m.domains.sync = sync = ClockDomain()
        m.submodules.restart = restart = DomainRenamer("power_up")(self._restart)
        m.submodules.test = test = self._test
        m.submodules.spoil = FFSynchronizer(self.spoil, test.spoil)
        calls = Signal.like(test.calls)
        m.d.comb += [
            power_up.clk.eq(self.clk25),
            sync.clk.eq(self.clk25),
            sync.rst.eq(restart.reset),
            restart.button.eq(self.restart),
            calls.eq(test.calls),
            Cat(self.led_running, self.led_passed).eq(Cat(~test.failed, test.passed)),
            self.led_failed.eq(test.failed),
            self.led_calls.eq(calls[_BLINK:]),
            self.esp32_gpio0.eq(1),
        ]
        return m
