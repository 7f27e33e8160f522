"""``2**-y`` with many bits, by a table: where blocks are compared, and not scores."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.numerics import Numerics
from ..lane.pipeline import shift_right, shift_stages
from .numerics import exp_table

__all__ = ["Exp2Table"]

_AMOUNT = 5


class Exp2Table(Component):
    """``2**-y`` in units of ``2**-exp_fraction``, cut off: one a cycle.

    ::

        fraction of y --> table of 2**fraction words --> shift --> o
        integer of y ----------------------------------> amount

    Parameters
    ----------
    fraction : int
        Fraction bits of ``y``, up to 12.
    exp_fraction : int
        Bits of the result below 1; up to 30.

    Members
    -------
    i : In
        ``y``, unsigned, of ``Numerics.max_width`` integer bits, one more, and the fraction.
    o : Out
        ``exp_fraction + 1`` bits, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or too large.
    """

    latency = 2 + shift_stages(_AMOUNT)

    def __init__(self, *, fraction: int, exp_fraction: int) -> None:
        check_count("Fraction", fraction, most=12)
        check_count("Exp fraction", exp_fraction, most=30)
        self._fraction, self._exp_fraction = fraction, exp_fraction
        super().__init__({"i": In(Numerics.max_width + 1 + fraction), "o": Out(exp_fraction + 1)})

    def elaborate(self, platform: object) -> Module:
        """Look up; clear what is far below the last place; shift."""
        m = Module()
        m.submodules.table = table = Memory(
            shape=self._exp_fraction + 1,
            depth=1 << self._fraction,
            init=exp_table(self._fraction, self._exp_fraction),
        )
        r_port = table.read_port()
        n = self.i[self._fraction :]
        amount = Signal(_AMOUNT, reset_less=True)
        is_small = Signal(reset_less=True)
        looked_up = Signal(self._exp_fraction + 1, reset_less=True)
        late_amount = Signal(_AMOUNT, reset_less=True)
        m.d.comb += r_port.addr.eq(self.i[: self._fraction])
        m.d.sync += [
            amount.eq(n[:_AMOUNT]),
            is_small.eq(n[_AMOUNT:].any()),
            late_amount.eq(amount),
            looked_up.eq(r_port.data),
        ]
        with m.If(is_small):
            m.d.sync += looked_up.eq(0)
        (shifted,) = shift_right(m, [looked_up], late_amount, name="power")
        m.d.comb += self.o.eq(Cat(shifted))
        return m
