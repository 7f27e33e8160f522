"""Crossing: a stream between two dies, over lines with a register at either end and no gate."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from .connect import connect_stream
from .level import count_level
from .queue import Queue

__all__ = ["CREDITS", "LineReceiver", "LineRegister", "LineSender", "line_signature"]

CREDITS = 8
"""Items that fit behind the lines. A credit is away for 6 cycles, as long as nothing waits."""


def line_signature(shape: Any) -> wiring.Signature:
    """Return the lines, as the sender sees them.

    Members
    -------
    valid : Out(1)
        An item comes; nothing can refuse it.
    payload : Out(shape)
        The item.
    credit : In(1)
        There is room for one more.
    """
    return wiring.Signature({"valid": Out(1), "payload": Out(shape), "credit": In(1)})


class LineRegister(Component):
    """A register at the end of a line, and nothing else: the cell ``q_reg`` in a netlist.

    Parameters
    ----------
    shape : shape-like
        Of what is kept.

    Members
    -------
    d : In(shape)
        The line, or what goes to it.
    q : Out(shape)
        The same, a cycle later.
    """

    def __init__(self, *, shape: Any) -> None:
        super().__init__({"d": In(shape), "q": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        """Keep it."""
        m = Module()
        m.d.sync += self.q.eq(self.d)
        return m


class LineSender(Component):
    """Send what there is a credit for.

    ::

        i --> credits --> registers --> line --> registers --> queue --> o
                 ^                                               |
                 +---- register <-------- line <------ register <+

    Registers at the lines are modules of their own, called ``sll_...``, for a floorplan to find
    them: an UltraScale+ device has places for them at the ends of its super long lines (UG912,
    USER_SLL_REG), if nothing but the line is between.

    Latency 2, and with :class:`LineReceiver` 4; rate 1. Nothing crosses from ``i`` to the line but
    through registers, and ``i.ready`` is one.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.

    Members
    -------
    i : stream, in
        Items in.
    line : Out(line_signature)
        To the receiver.
    """

    def __init__(self, *, shape: Any) -> None:
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "line": Out(line_signature(shape))})

    def elaborate(self, platform: object) -> Module:
        """Put a register at each line."""
        m = Module()
        m.submodules.sll_valid = valid = LineRegister(shape=1)
        m.submodules.sll_payload = payload = LineRegister(shape=self._shape)
        m.submodules.sll_credit = credit = LineRegister(shape=1)
        # A credit gate with nothing to wait for: ready is a register.
        held = Signal(range(CREDITS + 1), init=CREDITS)
        sends = Signal()
        is_open = count_level(m, held, most=CREDITS, comes=credit.q, goes=sends).has_some
        m.d.comb += [
            self.i.ready.eq(is_open),
            sends.eq(self.i.valid & is_open),
            valid.d.eq(sends),
            payload.d.eq(self.i.payload),
            self.line.valid.eq(valid.q),
            self.line.payload.eq(payload.q),
            credit.d.eq(self.line.credit),
        ]
        return m


class LineReceiver(Component):
    """Take what a :class:`LineSender` sends, and give a credit back for what has been taken.

    Latency 2, rate 1.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.

    Members
    -------
    line : In(line_signature)
        From the sender.
    o : stream, out
        The same items in the same order.
    """

    def __init__(self, *, shape: Any) -> None:
        self._shape = shape
        super().__init__({"line": In(line_signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        """Put a register at each line, and a queue behind."""
        m = Module()
        m.submodules.queue = queue = Queue(shape=self._shape, depth=CREDITS)
        m.submodules.sll_valid = valid = LineRegister(shape=1)
        m.submodules.sll_payload = payload = LineRegister(shape=self._shape)
        m.submodules.sll_credit = credit = LineRegister(shape=1)
        m.d.comb += [
            valid.d.eq(self.line.valid),
            payload.d.eq(self.line.payload),
            queue.i.valid.eq(valid.q),  # never refused: that is what credits are
            queue.i.payload.eq(payload.q),
            credit.d.eq(queue.o.valid & queue.o.ready),
            self.line.credit.eq(credit.q),
        ]
        connect_stream(m, queue.o, wiring.flipped(self.o))
        return m
