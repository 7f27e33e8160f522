"""Reading: commands become bursts, as far ahead as there is room for what they bring."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import Queue, connect_stream
from .command import beat_layout, command_layout
from .signature import AXI4Read, Burst
from .split import Splitter

__all__ = ["ReadManager"]

_OUTSTANDING = 16
"""Bursts that are on their way."""


class ReadManager(Component):
    """Read what commands ask for, and pass it on in their order.

    ::

        i --> splitter --> room? --> bus.ar
                             ^
        o <-- queue <--------+------ bus.r

    A burst is asked for when the queue has room for all of it. So what arrives is always taken, and
    this manager never holds up another one on the same bus. One beat a cycle, as long as ``ahead``
    is no less than a burst and the latency of memory, in cycles, together.

    Parameters
    ----------
    data_width, address_width : int
        Bits of a beat and of an address.
    longest : int
        Most beats of a command.
    burst : int
        Most beats of a burst.
    ahead : int
        Beats that may be on their way or waiting.

    Members
    -------
    i : In(stream)
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`.
    o : Out(stream)
        Beats, ``last`` of their command.
    bus : Out(AXI4Read)
        To memory.
    halt : In(1)
        Ask for nothing more. What is on its way still arrives, and then ``idle`` is 1.
    idle : Out(1)
        Nothing is on its way or, without ``halt``, waiting to be asked for.
    failed : Out(2)
        The first response that was no OKAY; its beat is passed on like any other.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a burst exceeds ``ahead``.
    """

    def __init__(
        self,
        *,
        data_width: int,
        address_width: int = 64,
        longest: int,
        burst: int = 64,
        ahead: int = 192,
    ) -> None:
        check_count("Longest command", longest)
        check_count("Beats ahead", ahead)
        check_count("Burst", burst)
        if burst > ahead:
            raise ValueError(f"Beats ahead must be at least a burst, {burst}, not {ahead}")
        self._ahead = ahead
        self._split = dict(
            data_width=data_width, address_width=address_width, longest=longest, burst=burst
        )
        self._beat = beat_layout(data_width=data_width)
        command = command_layout(address_width=address_width, beats=longest)
        super().__init__(
            {
                "i": In(stream.Signature(command)),
                "o": Out(stream.Signature(self._beat)),
                "bus": Out(AXI4Read(data_width=data_width, address_width=address_width)),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Spend room on bursts, and get it back beat by beat."""
        m = Module()
        bus, beat_bits = self.bus, self.bus.signature.beat_bits
        m.submodules.splitter = splitter = Splitter(**self._split)
        # What is asked for has a place: so nobody asks these queues for room but for bursts.
        m.submodules.ends = ends = Queue(shape=1, depth=_OUTSTANDING)
        m.submodules.beats = beats = Queue(
            shape=self._beat, depth=self._ahead, registered=self._ahead > 32
        )
        connect_stream(m, wiring.flipped(self.i), splitter.i)
        connect_stream(m, beats.o, wiring.flipped(self.o))

        burst = splitter.o.payload
        room = Signal(range(self._ahead + 1), init=self._ahead)
        fits = Signal()
        offers = Signal()
        asks = Signal()
        spent = Signal(range(self._ahead + 1))
        leaves = Signal()
        m.d.comb += [
            asks.eq(bus.ar.valid & bus.ar.ready),
            leaves.eq(self.o.valid & self.o.ready),
            spent.eq(Mux(asks, burst.beats, 0)),
            splitter.o.ready.eq(asks),
            bus.ar.valid.eq(offers),
            bus.ar.payload.addr.eq(burst.addr),
            bus.ar.payload.len.eq(burst.beats - 1),
            bus.ar.payload.size.eq(beat_bits),
            bus.ar.payload.burst.eq(Burst.INCR),
            ends.i.payload.eq(burst.ends),
            ends.i.valid.eq(asks),
        ]
        # The answer is a cycle old, in which room can only have grown.
        m.d.sync += [
            room.eq(room - spent + leaves),
            fits.eq((room >= burst.beats) & splitter.o.valid & ends.i.ready & ~offers),
        ]
        with m.If(asks):
            m.d.sync += offers.eq(0)
        with m.Elif(fits & ~self.halt & ~offers):
            m.d.sync += offers.eq(1)

        response = Value.cast(bus.r.payload.resp)
        m.d.comb += [
            bus.r.ready.eq(1),
            beats.i.valid.eq(bus.r.valid),
            beats.i.payload.data.eq(bus.r.payload.data),
            beats.i.payload.last.eq(bus.r.payload.last & ends.o.payload),
            ends.o.ready.eq(bus.r.valid & bus.r.payload.last),
            self.idle.eq(~ends.o.valid & ~offers & (self.halt | ~splitter.busy)),
        ]
        with m.If(bus.r.valid & (self.failed == 0)):
            m.d.sync += self.failed.eq(response)
        return m
