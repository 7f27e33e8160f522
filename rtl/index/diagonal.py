"""Attention per block diagonal, from parts that blocks have of three of them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Diagonals"]


class Diagonals(Component):
    """Complete block diagonals as blocks come in ascending order.

    Block ``b`` of ``n`` has a part of diagonal ``n - 1 - b``, ``above``; of the next nearer one;
    and of the one nearer than that, ``below``. So with each block a diagonal is complete.

    Parameters
    ----------
    width : int
        Bits of a mass.

    Members
    -------
    i : In(stream)
        Of each block, ``all`` of its attention, ``above`` and ``below``; ``first`` of a head.
        Always taken.
    o : Out(stream)
        ``vertical``, ``slash``: 2 cycles later, the attention of the block's column and of diagonal
        ``n - 1 - b``. Blocks come 3 cycles apart at least.

    Raises
    ------
    TypeError, ValueError
        When the width is no positive integer.
    """

    def __init__(self, *, width: int) -> None:
        check_count("Width", width)
        parts = data.StructLayout({"all": width, "above": width, "below": width, "first": 1})
        result = data.StructLayout({"vertical": width, "slash": width})
        super().__init__(
            {
                "i": In(stream.Signature(parts, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Keep what the next diagonal has already, and the one behind it."""
        m = Module()
        parts = self.i.payload
        width = len(parts.all)
        next_one = Signal(width, reset_less=True)  # so far
        rest = Signal(width, reset_less=True)
        below = Signal(width, reset_less=True)
        below_before = Signal(width, reset_less=True)  # of the block before
        level = Signal(width, reset_less=True)
        # The strobe reaches many registers: it comes from one.
        comes = Signal()
        late = Signal.like(self.i.payload, reset_less=True)
        m.d.sync += [
            comes.eq(self.i.valid),
            late.eq(parts),
            self.o.valid.eq(comes),
            level.eq(rest - below),
            next_one.eq(level + below_before),
        ]
        with m.If(comes):
            m.d.sync += [
                self.o.payload.vertical.eq(late.all),
                self.o.payload.slash.eq(late.above + Mux(late.first, 0, next_one)),
                rest.eq(late.all - late.above),
                below.eq(late.below),
                below_before.eq(Mux(late.first, 0, below)),
            ]
        return m
