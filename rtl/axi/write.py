"""Writing to memory: commands and beats in."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.count import count_to
from ..stream.connect import connect_stream
from ..stream.queue import Queue
from ..stream.slice import RegisterSlice
from .burst import BurstSplitter, check_split
from .command import command_layout, data_layout
from .gate import BurstGate
from .response import keep_first_error
from .signature import AXI4Write, Burst, Response, address_layout

__all__ = ["WriteManager"]

_LUT_BEATS = 64
"""Beats for which a buffer is made of LUTs."""


class WriteManager(Component):
    """Write beats to where commands say.

    ::

        i --> splitter --> gate --+--> register slice --> AW
                            ^     +--> lengths --> beats of bursts --> W
              beats there   |     |                     ^
        data --> data buffer + ---|---------------------+
                                  +--> ends of commands --> done <-- B

    A burst begins when all of its data are in the buffer. So W never waits in the middle of one,
    and a bus to which others write too never waits for this one. W waits for nothing that AW does
    (IHI 0022, A3.3.1).

    Rate one beat a cycle over the ends of bursts and commands, if bursts have four beats or more,
    ``ahead`` is at least ``burst`` + 3, and ``outstanding`` bursts take as long as a response.

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
        Most bursts without a response.

    Members
    -------
    i : In(stream)
        Commands: :func:`~qkloom.rtl.axi.command.command_layout`, ``addr`` a multiple of a beat's
        bytes, ``beats`` of 1 or more.
    data : In(stream)
        Beats: :func:`~qkloom.rtl.axi.command.data_layout`, in the order of commands; they may come
        before their command.
    bus : Out(AXI4Write)
        One ID, 0; full-width INCR bursts that do not cross 4 KB. ``b.ready`` is always 1.
    done : Out(1)
        A pulse for each command, after its last response.
    halt : In(1)
        Hold it until ``idle``: no burst begins any more; those that have begun are written to their
        end, with the data that they have, and their responses waited for. Commands and all other
        data are dropped, those that still come included.
    idle : Out(1)
        No command, no burst and no data inside; what is offered counts, without ``halt``.
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
        ahead: int = 128,
        outstanding: int = 16,
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
                "data": In(stream.Signature(data_layout(data_width=data_width))),
                "bus": Out(AXI4Write(**self._shape)),
                "done": Out(1),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(Response),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Credits are beats in the buffer that no burst has been promised."""
        m = Module()
        width, ahead = self._shape["address_width"], self._ahead
        beat = data_layout(data_width=self._shape["data_width"])
        w, b = self.bus.w, self.bus.b
        m.submodules.splitter = splitter = BurstSplitter(**self._split)
        m.submodules.gate = gate = BurstGate(address_width=width, credits=ahead)
        m.submodules.request = request = RegisterSlice(
            shape=address_layout(**self._shape), mode="half"
        )
        m.submodules.lengths = lengths = Queue(shape=9, depth=2)
        m.submodules.ends = ends = Queue(shape=1, depth=self._outstanding)
        m.submodules.buffer = buffer = Queue(shape=beat, depth=ahead, registered=ahead > _LUT_BEATS)
        connect_stream(m, wiring.flipped(self.i), splitter.i)
        connect_stream(m, splitter.o, gate.i)
        connect_stream(m, request.o, wiring.flipped(self.bus.aw))
        m.d.comb += [
            splitter.halt.eq(self.halt),
            gate.halt.eq(self.halt),
            gate.room.eq(request.i.ready & lengths.i.ready & ends.i.ready),
            gate.gained.eq(buffer.i.valid & buffer.i.ready),
            request.i.valid.eq(gate.o.valid),
            request.i.payload.addr.eq(gate.o.payload.addr),
            request.i.payload.len.eq(gate.o.payload.len),
            request.i.payload.size.eq(ceil_log2(self._shape["data_width"] // 8)),
            request.i.payload.burst.eq(Burst.INCR),
            lengths.i.valid.eq(gate.o.valid),
            lengths.i.payload.eq(gate.o.payload.len + 1),
            ends.i.valid.eq(gate.o.valid),
            ends.i.payload.eq(gate.o.payload.last),
        ]

        moves = Signal()
        beats = count_to(m, lengths.o.payload, moves=moves, name="beat")
        # Without a burst under way or about to begin, nobody was promised what is in the buffer;
        # and none begins any more.
        may_drop = Signal()
        drops = Signal()
        m.d.sync += may_drop.eq(self.halt & ~lengths.o.valid & ~gate.o.valid)
        m.d.comb += [
            buffer.i.valid.eq(self.data.valid & ~self.halt),
            buffer.i.payload.eq(self.data.payload),
            self.data.ready.eq(buffer.i.ready),
            w.valid.eq(lengths.o.valid & buffer.o.valid),
            w.payload.data.eq(buffer.o.payload.data),
            w.payload.strb.eq(buffer.o.payload.strb),
            w.payload.last.eq(beats.is_last),
            moves.eq(w.valid & w.ready),
            drops.eq(may_drop & self.halt & buffer.o.valid),
            gate.lost.eq(drops),
            buffer.o.ready.eq((w.ready & lengths.o.valid) | (may_drop & self.halt)),
            lengths.o.ready.eq(moves & beats.is_last),
        ]

        is_empty = Signal()
        is_offered = Signal()
        m.d.comb += [
            b.ready.eq(1),
            ends.o.ready.eq(b.valid),
            is_empty.eq(~splitter.busy & ~ends.o.valid & (gate.held == 0)),
            is_offered.eq(self.i.valid | self.data.valid),
        ]
        m.d.sync += [
            self.done.eq(b.valid & ends.o.valid & ends.o.payload),
            self.idle.eq(is_empty & (self.halt | ~is_offered)),
        ]
        keep_first_error(m, self.failed, b)
        return m
