"""Restart: a reset from a button, and at power-up."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ...rtl.check import check_count
from ...rtl.component import Component

__all__ = ["Restart"]


class Restart(Component):
    """Hold a reset from power-up, or while a button is down, until it has been up for a while.

    A button bounces for some milliseconds; each time the wait begins anew. Registers begin with
    their initial values: run this in a domain without a reset.

    Parameters
    ----------
    wait : int
        Cycles from when the button is up to the end of the reset; a power of two.

    Members
    -------
    button : In(1)
        1 while it is down; asynchronous.
    reset : Out(1)
        Straight from a register.

    Raises
    ------
    TypeError, ValueError
        When ``wait`` is not a power of two.
    """

    def __init__(self, *, wait: int) -> None:
        if check_count("Wait", wait) & wait - 1:
            raise ValueError(f"Wait must be a power of two, not {wait!r}")
        self._wait = wait
        super().__init__({"button": In(1), "reset": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        """Count the cycles in which the button is up."""
        m = Module()
        is_down = Signal()
        m.submodules.synchronizer = FFSynchronizer(self.button, is_down)
        quiet = Signal(range(2 * self._wait))
        m.d.sync += self.reset.eq(~quiet[-1])
        with m.If(is_down):
            m.d.sync += quiet.eq(0)
        with m.Elif(~quiet[-1]):
            m.d.sync += quiet.eq(quiet + 1)
        return m
