"""Writing: commands become bursts, once all of their beats are there."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.count import count_to
from ..stream import Queue, connect_stream
from .command import command_layout, strobed_layout
from .signature import AXI4Write, Burst
from .split import Splitter

__all__ = ["WriteManager"]

_OUTSTANDING = 16
"""Bursts that have no response yet."""


class WriteManager(Component):
    """Write what commands say, and tell when it is done.

    ::

        i --> splitter --> all there? --+--> bus.aw
                               ^        +--> lengths --+
        data --> queue --------+-----------------------+--> bus.w

    A burst begins when all of its beats are in the queue: so it never waits in the middle, nor
    holds up another manager. One beat a cycle, as long as a burst has five beats or more.

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
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`.
    data : In(stream)
        Their beats: :func:`~qkloom.rtl.axi.command.strobed_layout`.
    bus : Out(AXI4Write)
        To memory.
    done : Out(1)
        Memory has acknowledged all of a command; one cycle for each, in order.
    halt : In(1)
        Begin nothing more. What has begun is completed, and then ``idle`` is 1.
    idle : Out(1)
        Nothing is on its way or, without ``halt``, waiting to begin.
    failed : Out(2)
        The first response that was no OKAY.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self, *, data_width: int, address_width: int = 64, longest: int, burst: int = 64
    ) -> None:
        check_count("Longest command", longest)
        self._burst = check_count("Burst", burst)
        self._split = dict(
            data_width=data_width, address_width=address_width, longest=longest, burst=burst
        )
        self._beat = strobed_layout(data_width=data_width)
        command = command_layout(address_width=address_width, beats=longest)
        super().__init__(
            {
                "i": In(stream.Signature(command)),
                "data": In(stream.Signature(self._beat)),
                "bus": Out(AXI4Write(data_width=data_width, address_width=address_width)),
                "done": Out(1),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count the beats that no burst has claimed yet."""
        m = Module()
        bus, beat_bits = self.bus, self.bus.signature.beat_bits
        depth = 2 * self._burst
        m.submodules.splitter = splitter = Splitter(**self._split)
        m.submodules.beats = beats = Queue(shape=self._beat, depth=depth, registered=depth > 32)
        m.submodules.lengths = lengths = Queue(shape=range(self._burst + 1), depth=_OUTSTANDING)
        m.submodules.ends = ends = Queue(shape=1, depth=_OUTSTANDING)
        connect_stream(m, wiring.flipped(self.i), splitter.i)
        connect_stream(m, wiring.flipped(self.data), beats.i)

        burst = splitter.o.payload
        there = Signal(range(depth + 1))
        complete = Signal()
        offers = Signal()
        begins = Signal()
        claimed = Signal(range(self._burst + 1))
        comes = Signal()
        m.d.comb += [
            begins.eq(bus.aw.valid & bus.aw.ready),
            comes.eq(self.data.valid & self.data.ready),
            claimed.eq(Mux(begins, burst.beats, 0)),
            splitter.o.ready.eq(begins),
            bus.aw.valid.eq(offers),
            bus.aw.payload.addr.eq(burst.addr),
            bus.aw.payload.len.eq(burst.beats - 1),
            bus.aw.payload.size.eq(beat_bits),
            bus.aw.payload.burst.eq(Burst.INCR),
            lengths.i.valid.eq(begins),
            lengths.i.payload.eq(burst.beats),
            ends.i.valid.eq(begins),
            ends.i.payload.eq(burst.ends),
        ]
        # The answer is a cycle old, in which more beats can only have come.
        may_begin = Signal()
        m.d.comb += may_begin.eq(splitter.o.valid & lengths.i.ready & ends.i.ready & ~offers)
        m.d.sync += [
            there.eq(there - claimed + comes),
            complete.eq((there >= burst.beats) & may_begin),
        ]
        with m.If(begins):
            m.d.sync += offers.eq(0)
        with m.Elif(complete & ~self.halt & ~offers):
            m.d.sync += offers.eq(1)

        moves = Signal()
        beat = count_to(m, lengths.o.payload, moves=moves, name="beat")
        m.d.comb += [
            bus.w.valid.eq(lengths.o.valid & beats.o.valid),
            bus.w.payload.data.eq(beats.o.payload.data),
            bus.w.payload.strb.eq(beats.o.payload.strb),
            bus.w.payload.last.eq(beat.is_last),
            moves.eq(bus.w.valid & bus.w.ready),
            beats.o.ready.eq(moves),
            lengths.o.ready.eq(moves & beat.is_last),
        ]

        m.d.comb += [
            bus.b.ready.eq(1),
            ends.o.ready.eq(bus.b.valid),
            self.done.eq(bus.b.valid & ends.o.payload),
            self.idle.eq(~ends.o.valid & ~offers & (self.halt | ~splitter.busy)),
        ]
        with m.If(bus.b.valid & (self.failed == 0)):
            m.d.sync += self.failed.eq(Value.cast(bus.b.payload.resp))
        return m
