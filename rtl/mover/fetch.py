"""A tensor on its way from memory to the lanes."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Read, ReadManager
from ..axi.command import beat_layout, command_layout
from ..check import check_count
from ..component import Component
from ..sequencer.locate import fetch_layout
from ..stream import Queue, RegisterSlice, connect_stream
from .frame import Framer, frame_layout, row_layout
from .widen import Widen

__all__ = ["Fetcher"]

_WAITING = 16
"""Fetches whose beats are on their way."""


class Fetcher(Component):
    """Fetch parts of a tensor from the channels that it is spread over; put out rows, in order.

    ::

        i --+--> manager 0 --+
            |--> manager 1 --+--> select --> widen --> framer --> o
            |--> ...       --+       ^                    ^
            +--> order --------------+--------------------+

    Commands run ahead of the rows as far as the managers' buffers reach: neighbouring blocks are
    on different channels, and so their latencies overlap. A command is taken every other cycle.

    Parameters
    ----------
    to : shape-like
        Who a fetch is for.
    n_channels : int
        Channels.
    size, element_width : int
        Elements of a row, and their bits.
    tokens, head_dim : int
        Most tokens of a fetch; largest head dimension.
    data_width, address_width : int
        Bits of a beat and of an address.
    fills : bool
        Whether every fetch becomes ``tokens`` tokens, the missing ones filled with zeros.
    ahead : int
        Beats that a manager may have asked for.

    Members
    -------
    d_tiles : In
        Rows of a token.
    i : In(stream)
        Fetches: :func:`~qkloom.rtl.sequencer.locate.fetch_layout`.
    o : Out(stream)
        Rows: :func:`~qkloom.rtl.mover.frame.row_layout`.
    bus : n_channels buses, out
        To memory.
    halt : In(1)
        Ask memory for nothing more.
    idle : Out(1)
        Nothing is on its way.
    failed : Out(2)
        The first response of a channel that was no OKAY; 0 if there was none.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or rows and beats do not divide each other.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        to: Any,
        n_channels: int,
        size: int,
        element_width: int,
        tokens: int,
        head_dim: int,
        data_width: int,
        address_width: int = 64,
        fills: bool,
        ahead: int = 256,
    ) -> None:
        for name, value in {
            "Number of channels": n_channels,
            "Size": size,
            "Element width": element_width,
            "Tokens": tokens,
            "Head dimension": head_dim,
            "Data width": data_width,
        }.items():
            check_count(name, value)
        row_width = size * element_width
        if data_width % row_width and row_width % data_width:
            raise ValueError(
                f"Rows of {row_width} bits and beats of {data_width} must divide each other"
            )
        self._joined = max(row_width // data_width, 1)
        self._framer: dict[str, Any] = dict(
            to=to,
            size=size,
            element_width=element_width,
            tokens=tokens,
            head_dim=head_dim,
            data_width=data_width * self._joined,
            fills=fills,
        )
        self._n_channels, self._data_width = n_channels, data_width
        longest = -(-tokens * head_dim * element_width // data_width)
        self._manager: dict[str, int] = dict(
            data_width=data_width, address_width=address_width, longest=longest, ahead=ahead
        )
        fetch = fetch_layout(
            to=to,
            n_channels=n_channels,
            address_width=address_width,
            tokens=tokens,
            beats=longest,
        )
        self._command = command_layout(address_width=address_width, beats=longest)
        self._frame = frame_layout(to=to, tokens=tokens)
        row = row_layout(to=to, size=size, element_width=element_width)
        bus = AXI4Read(data_width=data_width, address_width=address_width)
        super().__init__(
            {
                "d_tiles": In(range(head_dim // size + 1)),
                "i": In(stream.Signature(fetch)),
                "o": Out(stream.Signature(row)),
                "bus": Out(bus).array(n_channels),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Send each fetch to its channel, and note the order."""
        m = Module()
        i = self.i
        n = self._n_channels
        m.submodules.order = order = Queue(shape=n, depth=_WAITING)
        m.submodules.turns = turns = RegisterSlice(shape=n)
        m.submodules.frames = frames = Queue(shape=self._frame, depth=_WAITING)
        m.submodules.framer = framer = Framer(**self._framer)
        connect_stream(m, order.o, turns.i)
        here = Signal(n)  # whose turn it is to be told
        turn = Signal(n)  # whose beats come next: one bit set, in a register
        ready = Signal(n)
        takes = Signal()  # room that is there stays, until something is taken
        m.d.sync += takes.eq(
            i.valid & ~takes & order.i.ready & frames.i.ready & (ready & here).any()
        )
        m.d.comb += [
            here.eq(1 << i.payload.channel),
            turn.eq(turns.o.payload),
            i.ready.eq(takes),
            order.i.valid.eq(takes),
            order.i.payload.eq(here),
            frames.i.valid.eq(takes),
            frames.i.payload.to.eq(i.payload.to),
            frames.i.payload.tokens.eq(i.payload.tokens),
            framer.d_tiles.eq(self.d_tiles),
        ]
        beats = stream.Signature(beat_layout(data_width=self._data_width)).create()
        beat_width = len(beats.payload.as_value())
        chosen = Signal(beat_width)
        offered = Signal(self._n_channels)
        idle = Signal(self._n_channels)
        terms, failures = [], []
        for k in range(self._n_channels):
            # A command waits in a queue of its own, so that others' commands go on.
            m.submodules[f"command_{k}"] = command = Queue(shape=self._command, depth=2)
            m.submodules[f"manager_{k}"] = manager = ReadManager(**self._manager)
            connect_stream(m, command.o, manager.i)
            wiring.connect(m, manager.bus, wiring.flipped(self.bus[k]))
            m.d.comb += [
                command.i.payload.addr.eq(i.payload.addr),
                command.i.payload.beats.eq(i.payload.beats),
                command.i.valid.eq(takes & here[k]),
                ready[k].eq(command.i.ready),
                offered[k].eq(manager.o.valid & turn[k]),
                manager.o.ready.eq(turns.o.valid & turn[k] & beats.ready),
                manager.halt.eq(self.halt),
                idle[k].eq(manager.idle),
            ]
            terms.append(manager.o.payload.as_value() & turn[k].replicate(beat_width))
            failures.append(Value.cast(manager.failed))
        m.d.comb += [
            chosen.eq(reduce(or_, terms)),
            beats.payload.as_value().eq(chosen),
            beats.valid.eq(turns.o.valid & offered.any() & ~self.halt),
            turns.o.ready.eq(beats.valid & beats.ready & beats.payload.last),
            self.failed.eq(reduce(or_, failures)),
            self.idle.eq(idle.all()),
        ]
        if self._joined > 1:
            m.submodules.widen = widen = Widen(data_width=self._data_width, n=self._joined)
            wiring.connect(m, beats, widen.i)
            connect_stream(m, widen.o, framer.beat)
        else:
            m.submodules.kept = kept = Queue(
                shape=beat_layout(data_width=self._data_width), depth=2
            )
            wiring.connect(m, beats, kept.i)
            connect_stream(m, kept.o, framer.beat)
        m.submodules.frame = frame = RegisterSlice(shape=self._frame, mode="half")
        connect_stream(m, frames.o, frame.i)
        connect_stream(m, frame.o, framer.i)
        connect_stream(m, framer.o, wiring.flipped(self.o))
        return m
