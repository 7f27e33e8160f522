"""A counter that a host reads: wide, and yet short of carry."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Tally"]

_HALF = 32


class Tally(Component):
    """Add ``step`` every cycle, to 64 bits. The sum follows three cycles behind.

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
        When ``most`` is not a positive integer up to 2**30.
    """

    def __init__(self, *, most: int) -> None:
        check_count("Largest step", most, most=1 << _HALF - 2)
        super().__init__({"step": In(range(most + 1)), "total": Out(2 * _HALF)})

    def elaborate(self, platform: object) -> Module:
        """Add to the low half, and a cycle later to the high half what has gone over."""
        m = Module()
        step = Signal.like(self.step)
        low = Signal(_HALF)
        high = Signal(_HALF)
        lower = Signal(_HALF)
        wraps = Signal()
        # A step is far less than half the range: only over its end does the highest bit fall.
        # A carry out of the sum would be one bit more of carry.
        m.d.comb += wraps.eq(lower[-1] & ~low[-1])
        m.d.sync += [
            step.eq(self.step),
            low.eq(low + step),
            lower.eq(low),
            high.eq(high + wraps),
        ]
        m.d.comb += self.total.eq(Cat(lower, high))
        return m
