"""Share of a total: a product with a fraction, rounded up, bit by bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["GAMMA_BITS", "Share"]

GAMMA_BITS = 16
"""Bits of a share below 1."""


class Share(Component):
    """Return ``ceil(gamma * total / 2**16)``, one at a time.

    A bit of the total a cycle, the lowest first: it is added as often as it says, and the lowest
    bit of the sum takes its place in the register that held it. There is time for that, and no
    chain of carries is longer than ``gamma``.

    Parameters
    ----------
    total_width : int
        Bits of a total.

    Members
    -------
    i : In(stream)
        ``total``, and ``gamma`` in units of ``2**-16``, below 1; none before the answer to the one
        before.
    o : Out(stream)
        The share, ``latency`` cycles later, always taken; the payload stays until the next.

    Raises
    ------
    TypeError, ValueError
        When ``total_width`` is not a positive integer.
    """

    def __init__(self, *, total_width: int) -> None:
        self._width = check_count("Total width", total_width)
        asked = data.StructLayout({"total": total_width, "gamma": GAMMA_BITS})
        super().__init__(
            {
                "i": In(stream.Signature(asked, always_ready=True)),
                "o": Out(stream.Signature(total_width, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._width + 2

    def elaborate(self, platform: object) -> Module:
        """Multiply; round up."""
        m = Module()
        low = Signal(self._width, reset_less=True)
        high = Signal(GAMMA_BITS, reset_less=True)
        gamma = Signal(GAMMA_BITS, reset_less=True)
        share = Signal(self._width, reset_less=True)
        steps = Signal(self._width + 1)  # a 1 on its way
        added = Signal(GAMMA_BITS + 1)
        m.d.comb += added.eq(high + (gamma & low[0].replicate(GAMMA_BITS)))
        m.d.sync += steps.eq(Cat(self.i.valid, steps))
        with m.If(self.i.valid):
            m.d.sync += [
                low.eq(self.i.payload.total),
                gamma.eq(self.i.payload.gamma),
                high.eq(0),
            ]
        with m.Else():
            m.d.sync += Cat(low, high).eq(Cat(low[1:], added))
        product = Cat(low, high)
        # After as many steps as the total has bits; what came before it is no share of anything.
        with m.If(steps[-1]):
            m.d.sync += share.eq(product[GAMMA_BITS:] + product[:GAMMA_BITS].any())
        valid = Signal()
        m.d.sync += valid.eq(steps[-1])
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.eq(share)]
        return m
