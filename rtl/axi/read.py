"""Reading from memory: commands in, beats out."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream.connect import connect_stream
from ..stream.queue import Queue
from ..stream.slice import RegisterSlice
from .burst import BurstSplitter, check_split
from .command import beat_layout, command_layout
from .gate import BurstGate
from .response import keep_first_error
from .signature import AXI4Read, Burst, Response, address_layout

__all__ = ["ReadManager"]

_LUT_BEATS = 64
"""Beats for which a buffer is made of LUTs."""


class ReadManager(Component):
    """Read what commands ask for, ahead of use.

    ::

        i --> splitter --> gate --+--> register slice --> AR
                            ^     +--> ends of commands --+
                            |                             v
                  room freed by o <--- data buffer <--- register <--- R

    A burst is asked for when the data buffer has room for all of it. So beats are always taken at
    once, and a bus that others read from too never waits for this one.

    Rate one beat a cycle over the ends of bursts and commands, if bursts have four beats or more
    and ``ahead`` is at least latency + ``burst`` + 5, where latency is in cycles from AR to the
    first R: the default stands 187 cycles. From a command to its AR four cycles, from R to ``o``
    three (two, of a buffer made of LUTs: up to 64 beats).

    An error does not change what is delivered: who counts beats never hangs.

    Parameters
    ----------
    data_width, address_width : int
        Bits of a beat and of an address.
    longest : int
        Most beats of a command.
    burst : int
        Most beats of a burst, a power of two up to 256; never more than 4 KB.
    ahead : int
        Beats of the data buffer, at least ``burst``.
    outstanding : int
        Most bursts that are asked for and not answered.

    Members
    -------
    i : In(stream)
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`, ``addr`` a multiple of a beat's
        bytes, ``beats`` of 1 or more.
    o : Out(stream)
        Beats: :func:`~qkloom.rtl.axi.command.beat_layout`, in the order of commands.
    bus : Out(AXI4Read)
        One ID, 0; full-width INCR bursts that do not cross 4 KB. ``r.ready`` is always 1.
    halt : In(1)
        Hold it until ``idle``: no burst is asked for any more (a valid one stays until it is
        taken), commands and data are dropped, those that still come and one on offer at ``o``
        included: what ``o`` offers meanwhile is not to be believed.
    idle : Out(1)
        No command, no burst and no data inside; commands that are offered count, without ``halt``.
    failed : Out(Response)
        The first error of the bus since reset; ``OKAY`` without one.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not one of these.
    """

    def __init__(
        self,
        *,
        data_width: int,
        address_width: int = 64,
        longest: int,
        burst: int = 64,
        ahead: int = 256,
        outstanding: int = 32,
    ) -> None:
        self._shape = dict(address_width=address_width, data_width=data_width)
        self._split = dict(self._shape, longest=longest, burst=burst)
        check_split(**self._split)
        if check_count("Beats ahead", ahead) < burst:
            raise ValueError(f"Beats ahead must be at least a burst of {burst}, not {ahead}")
        self._ahead = ahead
        self._outstanding = check_count("Outstanding bursts", outstanding)
        command = command_layout(address_width=address_width, beats=longest)
        super().__init__(
            {
                "i": In(stream.Signature(command)),
                "o": Out(stream.Signature(beat_layout(data_width=data_width))),
                "bus": Out(AXI4Read(**self._shape)),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(Response),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Credits are room in the buffer: all there means that nothing is on its way."""
        m = Module()
        width, ahead = self._shape["address_width"], self._ahead
        beat = beat_layout(data_width=self._shape["data_width"])
        ar, r = self.bus.ar, self.bus.r
        m.submodules.splitter = splitter = BurstSplitter(**self._split)
        m.submodules.gate = gate = BurstGate(address_width=width, credits=ahead, held=ahead)
        m.submodules.request = request = RegisterSlice(
            shape=address_layout(**self._shape), mode="half"
        )
        m.submodules.ends = ends = Queue(shape=1, depth=self._outstanding)
        m.submodules.buffer = buffer = Queue(shape=beat, depth=ahead, registered=ahead > _LUT_BEATS)
        connect_stream(m, wiring.flipped(self.i), splitter.i)
        connect_stream(m, splitter.o, gate.i)
        connect_stream(m, request.o, wiring.flipped(ar))
        m.d.comb += [
            splitter.halt.eq(self.halt),
            gate.halt.eq(self.halt),
            gate.room.eq(request.i.ready & ends.i.ready),
            gate.gained.eq(buffer.o.valid & buffer.o.ready),
            request.i.valid.eq(gate.o.valid),
            request.i.payload.addr.eq(gate.o.payload.addr),
            request.i.payload.len.eq(gate.o.payload.len),
            request.i.payload.size.eq(ceil_log2(self._shape["data_width"] // 8)),
            request.i.payload.burst.eq(Burst.INCR),
            ends.i.valid.eq(gate.o.valid),
            ends.i.payload.eq(gate.o.payload.last),
        ]
        # Memory is far away: its beats come to registers, and nothing is between.
        came = Signal()
        last = Signal(reset_less=True)
        words = Signal.like(r.payload.data, reset_less=True)
        m.d.sync += [came.eq(r.valid), last.eq(r.payload.last), words.eq(r.payload.data)]
        m.d.comb += [
            r.ready.eq(1),
            ends.o.ready.eq(came & last),
            buffer.i.valid.eq(came),
            buffer.i.payload.data.eq(words),
            buffer.i.payload.last.eq(last & ends.o.payload),
            self.o.valid.eq(buffer.o.valid),
            self.o.payload.eq(buffer.o.payload),
            buffer.o.ready.eq(self.o.ready | self.halt),
        ]
        is_empty = Signal()
        m.d.comb += is_empty.eq(~splitter.busy & (gate.held == ahead))
        m.d.sync += self.idle.eq(is_empty & (self.halt | ~self.i.valid))
        keep_first_error(m, self.failed, r)
        return m
