"""Outputs of all lanes, collected to bursts."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..axi.command import data_layout
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..stream import Queue, RegisterSlice, WideSlice, connect_stream
from .bank import Bank

__all__ = ["Collector", "chunk_layout"]


def chunk_layout(*, n_lanes: int, beats: int) -> data.StructLayout:
    """Return what is known of a chunk of outputs: whose, how much, and whether its block ends."""
    return data.StructLayout({"lane": index(n_lanes), "beats": range(beats + 1), "ends": 1})


class Collector(Component):
    """Collect each lane's outputs, a few elements at a time, to chunks of up to ``beats`` beats.

    Elements are stored as wide as the word that they have in memory, the sign extended. Each lane
    has two halves of a memory: one fills while the other waits to leave. Chunks leave in the order
    in which they are complete.

    Takes an item a cycle; a chunk leaves in as many cycles as it has beats, and three, and begins
    to leave six cycles after its last item. No path crosses from ``i``.

    Parameters
    ----------
    item : StructLayout
        What lanes put out: ``row``, elements, and ``last`` of a query block.
    n_lanes : int
        Number of lanes.
    element_width : int
        Bits of an element in memory.
    data_width : int
        Bits of a beat.
    beats : int
        Most beats of a chunk; a power of two.

    Members
    -------
    i : In(stream)
        ``index``: a lane, ``item``.
    chunks : Out(stream)
        Chunks: :func:`chunk_layout`.
    data : Out(stream)
        Their beats, a chunk's behind its own item of ``chunks``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or items do not divide beats.
    """

    def __init__(
        self,
        *,
        item: data.StructLayout,
        n_lanes: int,
        element_width: int,
        data_width: int,
        beats: int,
    ) -> None:
        check_count("Number of lanes", n_lanes)
        check_count("Beats", beats)
        self._n_lanes, self._beats = n_lanes, beats
        self._element_width, self._data_width = element_width, data_width
        row: Any = item.members["row"]
        self._unit_width = row.length * element_width
        if data_width % self._unit_width:
            raise ValueError(
                f"{row.length} elements of {element_width} bits must divide a beat of {data_width}"
            )
        tagged = data.StructLayout({"index": range(n_lanes), "item": item})
        super().__init__(
            {
                "i": In(stream.Signature(tagged)),
                "chunks": Out(stream.Signature(chunk_layout(n_lanes=n_lanes, beats=beats))),
                "data": Out(stream.Signature(data_layout(data_width=data_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Write elements where their lane is; announce a chunk when it is written."""
        m = Module()
        n, per_beat = self._n_lanes, self._data_width // self._unit_width
        unit_bits, beat_bits = ceil_log2(per_beat), ceil_log2(self._beats)
        lane_shape = index(n)
        depth = max(n, 2) * 2 * self._beats
        banks = [Bank(width=self._unit_width, depth=depth) for _ in range(per_beat)]
        for k, bank in enumerate(banks):
            m.submodules[f"bank_{k}"] = bank
        mark = data.StructLayout(
            {
                "lane": lane_shape,
                "half": 1,
                "beats": range(self._beats + 1),
                "units": range(per_beat + 1),  # in the last beat
                "ends": 1,
            }
        )
        m.submodules.complete = complete = Queue(shape=mark, depth=2 * n + 1)

        # Where each lane is. A half is full from its mark until it has left.
        tagged = self.i.payload.shape()
        entered = data.StructLayout({"here": n, "tagged": tagged})
        m.submodules.entry = entry = WideSlice(shape=entered)
        item = entry.o.payload.tagged.item
        lane = Signal(lane_shape)
        here = Signal(n)  # a bit for the lane, from a register
        has_room = Signal(n, init=-1 % (1 << n))  # in the half that fills
        within = Signal(data.ArrayLayout(beat_bits + unit_bits, n))  # beat and unit
        half = Signal(n)
        freed = Signal(2 * n)
        m.d.comb += [
            entry.i.payload.here.eq(Cat(self.i.payload.index == k for k in range(n))),
            entry.i.payload.tagged.eq(self.i.payload),
            entry.i.valid.eq(self.i.valid),
            self.i.ready.eq(entry.i.ready),
            lane.eq(entry.o.payload.tagged.index),
            here.eq(entry.o.payload.here),
            entry.o.ready.eq((here & has_room).any()),
        ]
        last_place = (1 << beat_bits + unit_bits) - 1
        for k in range(n):
            full = Signal(2, name=f"full_{k}")
            ends_half = Signal(name=f"ends_half_{k}")
            frees = freed[2 * k : 2 * k + 2]
            other_is_full = (full & ~frees).bit_select(~half[k], 1)
            fills_half = Signal(name=f"fills_half_{k}", init=last_place == 0)  # its next item does
            m.d.comb += ends_half.eq(item.last | fills_half)
            with m.If(frees.bit_select(half[k], 1)):
                m.d.sync += has_room[k].eq(1)
            for which in range(2):
                with m.If(frees[which]):
                    m.d.sync += full[which].eq(0)
            with m.If(entry.o.valid & here[k] & has_room[k]):
                m.d.sync += [
                    within[k].eq(within[k] + 1),
                    fills_half.eq(within[k] == last_place - 1),
                ]
                with m.If(ends_half):
                    m.d.sync += [
                        within[k].eq(0),
                        fills_half.eq(last_place == 0),
                        full.bit_select(half[k], 1).eq(1),
                        half[k].eq(~half[k]),
                        has_room[k].eq(~other_is_full),
                    ]

        # A cycle later it is known where that is.
        words = Cat(_extended(element, self._element_width) for element in item.row)
        taken = Signal()
        taken_words = Signal(self._unit_width, reset_less=True)
        taken_lane = Signal(lane_shape, reset_less=True)
        taken_half = Signal(reset_less=True)
        taken_last = Signal(reset_less=True)
        place = Signal(beat_bits + unit_bits, reset_less=True)
        m.d.sync += [
            taken.eq(entry.o.valid & entry.o.ready),
            taken_words.eq(words),
            taken_lane.eq(lane),
            taken_half.eq(half.bit_select(lane, 1)),
            taken_last.eq(item.last),
            place.eq(within[lane]),
        ]

        # Another one later the elements are written, and then their chunk is announced.
        unit = Signal(max(unit_bits, 1))
        unit_data = Signal(self._unit_width, reset_less=True)
        closing = Signal()
        marked = Signal(mark)
        m.d.comb += [
            unit.eq(place[:unit_bits]),
            complete.i.valid.eq(closing),
            complete.i.payload.eq(marked),
        ]
        enable = Signal(per_beat)
        address = Signal(len(banks[0].w_addr), reset_less=True)
        m.d.sync += [
            unit_data.eq(taken_words),
            address.eq(Cat(place[unit_bits:], taken_half, taken_lane)),
            enable.eq(Mux(taken, Const(1, per_beat) << unit, 0)),
            closing.eq(taken & (taken_last | place.all())),
            marked.lane.eq(taken_lane),
            marked.half.eq(taken_half),
            marked.beats.eq(place[unit_bits:] + 1),
            marked.units.eq(unit + 1),
            marked.ends.eq(taken_last),
        ]

        # Leaving: the chunk, then its beats.
        m.submodules.leaving = head = RegisterSlice(shape=mark)
        connect_stream(m, complete.o, head.i)
        leaving = head.o.payload
        beat = Signal(range(self._beats))
        beats_left = Signal(range(self._beats + 1))
        asks = Signal()
        is_last = Signal()
        releases = Signal()
        m.d.comb += [
            self.chunks.payload.lane.eq(leaving.lane),
            self.chunks.payload.beats.eq(leaving.beats),
            self.chunks.payload.ends.eq(leaving.ends),
            self.data.valid.eq(banks[0].fetched),
            self.data.payload.data.eq(Cat(bank.r_data for bank in banks)),
            is_last.eq(beats_left == 1),
        ]
        unit_bytes = self._unit_width // 8
        strobes = Signal(per_beat, reset_less=True)
        m.d.comb += self.data.payload.strb.eq(
            Cat(strobes[k].replicate(unit_bytes) for k in range(per_beat))
        )
        for k, bank in enumerate(banks):
            m.d.comb += [
                bank.w_en.eq(enable[k]),
                bank.w_addr.eq(address),
                bank.w_data.eq(unit_data),
                bank.asks.eq(asks),
                bank.taken.eq(self.data.ready),
                bank.r_addr.eq(Cat(beat, leaving.half, leaving.lane)),
            ]
        with m.FSM():
            with m.State("chunk"):
                m.d.comb += self.chunks.valid.eq(head.o.valid)
                m.d.sync += [beat.eq(0), beats_left.eq(leaving.beats)]
                with m.If(self.chunks.valid & self.chunks.ready):
                    m.next = "beats"
            with m.State("beats"):
                m.d.comb += asks.eq(1)
                with m.If(banks[0].reads):
                    m.d.sync += [
                        beat.eq(beat + 1),
                        beats_left.eq(beats_left - 1),
                    ]
                    for k in range(per_beat):
                        m.d.sync += strobes[k].eq(~is_last | (leaving.units > k))
                    with m.If(is_last):
                        m.d.comb += [releases.eq(1), head.o.ready.eq(1)]
                        m.next = "chunk"
        m.d.sync += freed.eq(
            Cat(releases & (Cat(leaving.half, leaving.lane) == k) for k in range(2 * n))
        )
        return m


def _extended(element: Any, width: int) -> Value:
    """Return a signed element in so many bits."""
    return Cat(element, element[-1].replicate(width - len(element)))
