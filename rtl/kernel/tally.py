"""A counter that a host reads: wide, and yet short of carry."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Tally"]

_HALF = 32


class Tally(Component):
    """Add ``step`` every cycle, to 64 bits; the upper half follows a cycle behind.

    Parameters
    ----------
    most : int
        Largest step.

    Members
    -------
    step : In(range(most + 1))
        What is added.
    total : Out(64)
        The sum since reset.

    Raises
    ------
    TypeError, ValueError
        When ``most`` is not a positive integer.
    """

    def __init__(self, *, most: int) -> None:
        check_count("Largest step", most)
        super().__init__({"step": In(range(most + 1)), "total": Out(2 * _HALF)})

    def elaborate(self, platform: object) -> Module:
        """Carry from one half to the other through a register."""
        m = Module()
        low = Signal(_HALF)
        high = Signal(_HALF)
        lower = Signal(_HALF)
        carry = Signal()
        m.d.sync += [
            Cat(low, carry).eq(low + self.step),
            lower.eq(low),
            high.eq(high + carry),
        ]
        m.d.comb += self.total.eq(Cat(lower, high))
        return m
