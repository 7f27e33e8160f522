"""Credit gate: admission in front of a pipeline that cannot stop."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .level import count_level

__all__ = ["CreditGate"]


class CreditGate(Component):
    """Admit an item only when a credit is held, and spend the credit on it.

    It stands in front of a pipeline of fixed latency without clock enable. With a queue of
    ``credits`` items behind that, and ``returned`` pulsed by each item that leaves the queue, no
    item finds the queue full::

        i --> CreditGate --> pipeline --> Queue(depth=credits) --> o
                  ^                                             |
                  +-------------- returned <--------------------+

    Latency 0. ``o.valid`` comes from ``i.valid``, ``o.payload`` from ``i.payload`` and ``i.ready``
    from ``o.ready``; no output comes from ``returned``, since a credit can be spent from the cycle
    after it returns. It costs a counter, and a register that says whether it is 0.

    Rate 1 asks for a credit per cycle of the loop, the gate's own included: latency + 2 in the
    picture, with a queue of latency 1.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    credits : int
        Number of credits held after reset, at least 1.

    Members
    -------
    i : stream, in
        Items in.
    o : stream, out
        The same items in the same order.
    returned : In(1)
        Gives one credit back, every cycle that it is 1. There must be one to give back.
    held : Out(range(credits + 1))
        Number of credits held.

    Raises
    ------
    TypeError, ValueError
        When ``credits`` is not a positive integer.
    """

    def __init__(self, *, shape: Any, credits: int) -> None:
        self._credits = check_count("Number of credits", credits)
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "returned": In(1),
                "held": Out(range(credits + 1), init=credits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count the credits, and close the gate at none."""
        m = Module()
        i, o, held = self.i, self.o, self.held
        spent = Signal()
        is_open = count_level(m, held, most=self._credits, comes=self.returned, goes=spent).has_some
        m.d.comb += [
            o.payload.eq(i.payload),
            o.valid.eq(i.valid & is_open),
            i.ready.eq(o.ready & is_open),
            spent.eq(o.valid & o.ready),
        ]
        return m
