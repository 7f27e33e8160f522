"""A command as bursts: none longer than asked, none across a 4 KB boundary."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .command import command_layout
from .signature import BEATS, BOUNDARY

__all__ = ["Splitter", "burst_layout"]

_HALF = 32
"""Bits of an address that are added at a time."""


def burst_layout(*, address_width: int, burst: int) -> data.StructLayout:
    """Return a burst: where, how many beats, and whether its command ends with it."""
    return data.StructLayout({"addr": address_width, "beats": range(burst + 1), "ends": 1})


class Splitter(Component):
    """Split commands into bursts.

    Five cycles a burst; ``o`` comes from registers.

    Parameters
    ----------
    data_width, address_width : int
        Bits of a beat and of an address.
    longest : int
        Most beats of a command.
    burst : int
        Most beats of a burst.

    Members
    -------
    i : In(stream)
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`; ``addr`` is a multiple of a beat's
        bytes, ``beats`` is 1 or more.
    o : Out(stream)
        Bursts: :func:`burst_layout`.
    busy : Out(1)
        A command is in it.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or bursts would be longer than AXI allows.
    """

    def __init__(self, *, data_width: int, address_width: int, longest: int, burst: int) -> None:
        check_count("Burst", burst, most=BEATS)
        self._burst = burst
        self._beat_bits = ceil_log2(data_width // 8)
        command = command_layout(address_width=address_width, beats=longest)
        out = burst_layout(address_width=address_width, burst=burst)
        super().__init__(
            {
                "i": In(stream.Signature(command)),
                "o": Out(stream.Signature(out)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take the least of three; add it to the address in two halves."""
        m = Module()
        i, o = self.i.payload, self.o.payload
        page_bits = ceil_log2(BOUNDARY) - self._beat_bits
        left = Signal.like(i.beats)
        to_boundary = Signal(page_bits + 1)
        most = Signal(range(max(self._burst, 1 << page_bits) + 1))
        low = Signal(_HALF + 1)
        taken = Signal()
        width = len(o.addr)
        m.d.comb += self.busy.eq(taken | self.i.valid)
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [o.addr.eq(i.addr), left.eq(i.beats)]
                with m.If(self.i.valid):
                    m.d.sync += taken.eq(1)
                    m.next = "boundary"
            with m.State("boundary"):
                in_page = o.addr[self._beat_bits : self._beat_bits + page_bits]
                m.d.sync += to_boundary.eq((1 << page_bits) - in_page)
                m.next = "limit"
            with m.State("limit"):
                m.d.sync += most.eq(Mux(to_boundary < self._burst, to_boundary, self._burst))
                m.next = "choose"
            with m.State("choose"):
                m.d.sync += [o.beats.eq(Mux(left > most, most, left)), o.ends.eq(left <= most)]
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += low.eq(o.addr[:_HALF] + (o.beats << self._beat_bits))
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - o.beats)
                    m.next = "add"
                    with m.If(o.ends):
                        m.d.sync += taken.eq(0)
                        m.next = "take"
            with m.State("add"):
                high = (o.addr[_HALF:] + low[_HALF])[: max(width - _HALF, 0)]
                m.d.sync += o.addr.eq(Cat(low[: min(_HALF, width)], high))
                m.next = "boundary"
        return m
