"""Where chunks of outputs go."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..axi.command import HALF, command_layout, data_layout
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..stream import Queue, connect_stream
from .collect import chunk_layout
from .lane_queues import LaneQueues

__all__ = ["Storer", "place_layout"]

_WAITING = 16
"""Commands of a channel that are not done yet."""


def place_layout(*, n_channels: int, address_width: int) -> data.StructLayout:
    """Return where a query block's outputs begin."""
    return data.StructLayout({"channel": index(n_channels), "addr": address_width})


class Storer(Component):
    """Give each chunk the place behind the one before of its query block.

    The beats of a chunk pass, one a cycle; between two chunks are six cycles.

    Parameters
    ----------
    n_lanes, n_channels : int
        Lanes, and channels that outputs are spread over.
    data_width, address_width : int
        Bits of a beat and of an address.
    beats : int
        Most beats of a chunk.

    Members
    -------
    places : In(stream)
        ``to``: a lane, ``item``: :func:`place_layout`, for each of its query blocks in their order.
    chunks, data : In(stream)
        What is to be written, as :class:`~qkloom.rtl.mover.collect.Collector` has it.
    commands, beats : n_channels streams, out
        For the managers of the channels.
    done : In(n_channels)
        A manager has written what a command asked for.
    written : Out(n_channels)
        That was the last of a query block.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self, *, n_lanes: int, n_channels: int, data_width: int, address_width: int, beats: int
    ) -> None:
        check_count("Number of channels", n_channels)
        self._n_lanes, self._n_channels = n_lanes, n_channels
        self._beat_bits = ceil_log2(data_width // 8)
        self._place = place_layout(n_channels=n_channels, address_width=address_width)
        self._command = command_layout(address_width=address_width, beats=beats)
        self._beat = data_layout(data_width=data_width)
        place = data.StructLayout({"to": range(n_lanes), "item": self._place})
        super().__init__(
            {
                "places": In(stream.Signature(place)),
                "chunks": In(stream.Signature(chunk_layout(n_lanes=n_lanes, beats=beats))),
                "data": In(stream.Signature(self._beat)),
                "commands": Out(stream.Signature(self._command)).array(n_channels),
                "beats": Out(stream.Signature(self._beat)).array(n_channels),
                "done": In(n_channels),
                "written": Out(n_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Load a place, command, let the beats pass, and add what they were."""
        m = Module()
        coming = self.chunks.payload
        chunk = Signal.like(coming, reset_less=True)  # the one that is being stored
        m.submodules.places = places = LaneQueues(shape=self._place, n=self._n_lanes)
        connect_stream(m, wiring.flipped(self.places), places.i)
        m.submodules.next = memory = Memory(shape=self._place, depth=max(self._n_lanes, 2), init=[])
        write = memory.write_port()
        read = memory.read_port(domain="comb")
        begun = Signal(self._n_lanes)  # lanes in the middle of a query block
        goes_on = Signal()
        now = Signal(self._place, reset_less=True)
        beats_left = Signal.like(chunk.beats)
        is_last = Signal()
        low = Signal(HALF + 1)
        keeps = Signal()
        chooses = Signal()
        width = len(now.addr)
        m.d.comb += [
            places.lane.eq(chunk.lane),
            read.addr.eq(chunk.lane),
            write.addr.eq(chunk.lane),
            write.data.channel.eq(now.channel),
            write.data.addr.eq(now.addr),
            write.en.eq(keeps),
            places.o.ready.eq(chooses & ~goes_on),
        ]
        n = self._n_channels
        here = Signal(n)
        m.d.comb += here.eq(1 << now.channel)
        offers = Signal(n)  # a bit for the channel, in registers: nothing decodes it
        passes = Signal(n)
        has_room = Signal(n)
        taken = Signal(n)
        accepted = Signal(n)
        beat_taken = Signal()
        for k in range(n):
            m.submodules[f"ends_{k}"] = ends = Queue(shape=1, depth=_WAITING)
            command, beat = self.commands[k], self.beats[k]
            m.d.comb += [
                command.payload.addr.eq(now.addr),
                command.payload.beats.eq(chunk.beats),
                command.valid.eq(offers[k]),
                taken[k].eq(offers[k] & command.ready),
                has_room[k].eq(ends.i.ready),
                ends.i.payload.eq(chunk.ends),
                ends.i.valid.eq(taken[k]),
                ends.o.ready.eq(self.done[k]),
                self.written[k].eq(self.done[k] & ends.o.payload),
                beat.payload.eq(self.data.payload),
                beat.valid.eq(passes[k] & self.data.valid),
                accepted[k].eq(passes[k] & beat.ready),
            ]
        m.d.comb += [
            self.data.ready.eq(accepted.any()),
            beat_taken.eq(self.data.valid & self.data.ready),
        ]
        m.d.sync += keeps.eq(0)
        with m.If(keeps):
            for k in range(self._n_lanes):
                with m.If(chunk.lane == k):
                    m.d.sync += begun[k].eq(~chunk.ends)
        # Bits of a channel go their way without a state: a command, then its beats, to the last.
        for k in range(n):
            with m.If(taken[k]):
                m.d.sync += [offers[k].eq(0), passes[k].eq(1)]
            with m.If(accepted[k] & self.data.valid & is_last):
                m.d.sync += passes[k].eq(0)
        with m.If(beat_taken):
            m.d.sync += [beats_left.eq(beats_left - 1), is_last.eq(beats_left == 2)]
        m.d.sync += chooses.eq(0)
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.chunks.ready.eq(1)
                m.d.sync += chunk.eq(coming)
                with m.If(self.chunks.valid):
                    m.next = "look"
            with m.State("look"):
                m.d.sync += [
                    goes_on.eq(begun.bit_select(chunk.lane, 1)),
                    beats_left.eq(chunk.beats),
                    is_last.eq(chunk.beats == 1),
                    chooses.eq(1),
                ]
                m.next = "choose"
            with m.State("choose"):
                m.d.sync += now.eq(Mux(goes_on, read.data.as_value(), places.o.payload.as_value()))
                m.d.sync += chooses.eq(1)
                with m.If(goes_on | places.o.valid):
                    m.d.sync += chooses.eq(0)
                    m.next = "wait"
            with m.State("wait"), m.If((here & has_room).any()):
                m.d.sync += offers.eq(here)
                m.next = "beats"
            with m.State("beats"):
                m.d.sync += low.eq(now.addr[:HALF] + (chunk.beats << self._beat_bits))
                with m.If(beat_taken & is_last):
                    m.next = "add"
            with m.State("add"):
                high = (now.addr[HALF:] + low[HALF])[: width - HALF]
                m.d.sync += [now.addr.eq(Cat(low[:HALF], high)), keeps.eq(1)]
                m.next = "take"
        return m
