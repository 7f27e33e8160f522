"""Bursts that start only when as many beats are there, or have room."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .burst import burst_layout

__all__ = ["BurstGate"]


class BurstGate(Component):
    """Let a burst pass when a credit is held for each of its beats, and spend these.

    A burst passes in the second cycle in which it could. Whether it may is a register, so that
    nothing waits for the comparison; what it says stays true, since credits only become more
    meanwhile.

    Parameters
    ----------
    address_width : int
        Bits of an address.
    credits : int
        Most that are held.
    held : int
        How many are held after reset.

    Members
    -------
    halt : In(1)
        Bursts are taken and dropped; one that is let pass in this very cycle passes.
    room : In(1)
        A burst may pass in the next cycle, as far as others are concerned. Once 1 it stays until
        one passes.
    gained : In(1)
        One credit more.
    lost : In(1)
        One credit less; only with ``halt``, and not when a burst passes.
    i : In(stream)
        Bursts: :func:`~qkloom.rtl.axi.burst.burst_layout`.
    o : Out(stream), always ready
        The same.
    held : Out
        Credits.

    Raises
    ------
    TypeError, ValueError
        When ``credits`` is not a positive integer, or ``held`` none up to it.
    """

    def __init__(self, *, address_width: int = 64, credits: int, held: int = 0) -> None:
        check_count("Credits", credits)
        if held:
            check_count("Held credits", held, most=credits)
        burst = burst_layout(address_width=address_width)
        super().__init__(
            {
                "halt": In(1),
                "room": In(1),
                "gained": In(1),
                "lost": In(1),
                "i": In(stream.Signature(burst)),
                "o": Out(stream.Signature(burst, always_ready=True)),
                "held": Out(range(credits + 1), init=held),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare in one cycle, pass in the next."""
        m = Module()
        i, held = self.i, self.held
        fits = Signal()
        change = Signal(signed(9))
        m.d.comb += [
            self.o.valid.eq(fits),
            self.o.payload.eq(i.payload),
            i.ready.eq(fits | self.halt),
            # -(len + 1) is ~len: no sum in front of the sum.
            change.eq(Mux(fits, ~Cat(i.payload.len, Const(0, 1)), self.lost.replicate(9))),
        ]
        m.d.sync += [
            fits.eq(i.valid & ~i.ready & self.room & (held > i.payload.len)),
            held.eq(held + change + self.gained),
        ]
        return m
