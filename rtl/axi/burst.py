"""Bursts: what a command is cut into."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .command import HALF, command_layout
from .signature import BEATS, BOUNDARY, AXI4Read

__all__ = ["BurstSplitter", "burst_layout", "check_split"]


def burst_layout(*, address_width: int) -> data.StructLayout:
    """Return a burst: ``len`` is beats less one; ``last`` says that its command ends with it."""
    return data.StructLayout({"addr": address_width, "len": 8, "last": 1})


def check_split(*, data_width: int, address_width: int, longest: int, burst: int) -> None:
    """Check what managers take for granted.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not one of :class:`BurstSplitter`'s.
    """
    AXI4Read(address_width=address_width, data_width=data_width)
    if address_width < ceil_log2(BOUNDARY):
        raise ValueError(f"Address width must be at least 12, not {address_width}")
    check_count("Longest command", longest)
    if check_count("Burst", burst, most=BEATS) & burst - 1:
        raise ValueError(f"Burst must be a power of two, not {burst}")


class BurstSplitter(Component):
    """Cut commands at multiples of ``burst`` beats.

    These are never more than a page of 4 KB apart, which no burst may leave, and divide it: so one
    rule keeps both limits, and all bursts but the first begin where memories like them to.

    A burst every second cycle; two cycles from a command to its first one.

    Parameters
    ----------
    data_width, address_width : int
        Bits of a beat and of an address.
    longest : int
        Most beats of a command.
    burst : int
        Most beats of a burst; a power of two up to 256. It is never more than 4 KB.

    Members
    -------
    halt : In(1)
        Commands are taken and forgotten, also the rest of the one under way: what is offered then
        is the last burst of it.
    i : In(stream)
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`, ``addr`` a multiple of a beat's
        bytes, ``beats`` of 1 or more.
    o : Out(stream)
        Their bursts: :func:`burst_layout`.
    busy : Out(1)
        There is a command inside.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not one of these.
    """

    def __init__(
        self, *, data_width: int, address_width: int = 64, longest: int, burst: int = 64
    ) -> None:
        check_split(
            data_width=data_width, address_width=address_width, longest=longest, burst=burst
        )
        self._beat_bits = ceil_log2(data_width // 8)
        self._burst_bits = ceil_log2(min(burst, BOUNDARY // (data_width // 8)))
        command = command_layout(address_width=address_width, beats=longest)
        super().__init__(
            {
                "halt": In(1),
                "i": In(stream.Signature(command)),
                "o": Out(stream.Signature(burst_layout(address_width=address_width))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count blocks of ``burst`` beats; only the first and the last are not whole."""
        m = Module()
        i, o = self.i.payload, self.o.payload
        in_block = self._beat_bits + self._burst_bits
        offset = Signal(self._burst_bits, reset_less=True)  # of the first beat in its block
        final = Signal(self._burst_bits, reset_less=True)  # of the last beat of all in its block
        blocks = Signal(max(len(i.beats) + 1 - self._burst_bits, 1), reset_less=True)  # after this
        low = Signal(min(HALF, len(i.addr)) - in_block, reset_less=True)
        high = Signal(max(len(i.addr) - HALF, 0), reset_less=True)
        carry = Signal(reset_less=True)  # not yet added to `high`
        first = Signal(self._burst_bits)
        is_last = Signal()
        m.d.comb += [
            first.eq(i.addr[self._beat_bits : in_block]),
            is_last.eq(blocks == 0),
            o.addr.eq(Cat(Const(0, self._beat_bits), offset, low, high)),
        ]
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    offset.eq(first),
                    Cat(low, high).eq(i.addr[in_block:]),
                    carry.eq(0),
                    Cat(final, blocks).eq(i.beats + (first - 1)),
                ]
                with m.If(self.i.valid & ~self.halt):
                    m.next = "measure"
            with m.State("measure"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += [
                    o.len.eq(Mux(is_last, final, (1 << self._burst_bits) - 1) - offset),
                    o.last.eq(is_last),
                    high.eq(high + carry),
                ]
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += [self.busy.eq(1), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.d.sync += [
                        offset.eq(0),
                        blocks.eq(blocks - 1),
                        Cat(low, carry).eq(low + 1),
                    ]
                    m.next = "measure"
                    with m.If(o.last | self.halt):
                        m.next = "take"
        return m
