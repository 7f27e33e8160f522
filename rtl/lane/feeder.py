"""The feeder: streams the rows of each pass, queries or probabilities, into the matrix unit."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.port import read_port
from ..component import Component
from ..formats import Integer, ceil_log2
from ..stream import Queue, RegisterSlice, connect_stream
from ..stream.level import count_level
from .count import count_to
from .job import check_digits, check_operand, check_shape, index, pass_layout
from .output import OutputAccumulator
from .rescale import RESCALE
from .spacer import Spacer
from .tag import tag_layout

__all__ = ["Feeder"]


class Feeder(Component):
    """Stream the rows of a pass into the matrix unit, tagged with where the results belong.

    A pass over keys streams each query row once; it waits until the queries are there. Of a step
    without a second product the first one also waits until what was in its bank has been read: so
    late, since its tile may load meanwhile. A pass over values streams each probability row once
    per digit, the high digit first; it waits until the row unit has finished the step. Rows leave
    through a small queue whose free places are counted before a memory is read: the memories need
    no stall, and once a pass has started its rows are one cycle apart unless the matrix unit itself
    waits for a tile, and the first rows of two passes at least ``OutputAccumulator.feedback``
    cycles. The accumulators behind rely on these distances; of the smallest arrays, the loading
    time of a tile would not suffice.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    digits : int
        Digits of a probability: 1 or 2.
    stream_width : int
        Bits of an element, and of a digit.
    single : bool
        Whether there are steps without a second product.

    Members
    -------
    i : In(stream)
        Passes.
    loaded : In(stream)
        A slot whose queries are complete.
    done : In(stream)
        A bank whose probabilities are complete.
    drained : In(stream)
        With ``single``, a bank that has been read; of such steps only.
    queries, probabilities
        Read ports of the two buffers, latency 1.
    o : Out(stream)
        Rows for the matrix unit.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane, or there are not one or two digits.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        slots: int,
        digits: int,
        stream_width: int = 8,
        single: bool = False,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_digits(digits)
        check_operand("Stream width", stream_width)
        self._size, self._digits = size, digits
        self._block_rows, self._slots = block_rows, slots
        self._tile_bits, self._row_bits = ceil_log2(head_dim // size), ceil_log2(block_rows)
        shape: dict[str, Any] = dict(
            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
        )
        self._shape, self._single = shape, single
        bank = stream.Signature(data.StructLayout({"bank": 1}), always_ready=True)
        row = data.ArrayLayout(Integer(stream_width), size)
        p_row = data.ArrayLayout(data.ArrayLayout(stream_width, digits), size)
        super().__init__(
            {
                "i": In(stream.Signature(pass_layout(**shape, single=single))),
                "loaded": In(
                    stream.Signature(data.StructLayout({"slot": index(slots)}), always_ready=True)
                ),
                "done": In(bank),
                **({"drained": In(bank)} if single else {}),
                "queries": Out(
                    read_port(banks=slots, depth=block_rows << self._tile_bits, shape=row)
                ),
                "probabilities": Out(
                    wiring.Signature(
                        {
                            "en": Out(1),
                            "bank": Out(1),
                            "row": Out(index(block_rows)),
                            "digits": In(p_row),
                            "rescale": In(RESCALE),
                        }
                    )
                ),
                "o": Out(
                    stream.Signature(
                        data.StructLayout({"row": row, "new_tile": 1, "tag": tag_layout(**shape)})
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count rows and digits; read; one cycle later put the row into the queue."""
        m = Module()

        # A pass stops here for a cycle, since what it asks for is at the start of long paths.
        came = self.i.payload
        needs = {"needs_input": 1, **({"needs_bank": 1} if self._single else {})}
        shape = data.StructLayout({"work": came.shape(), **needs})
        m.submodules.next = following = RegisterSlice(shape=shape)
        m.d.comb += [
            following.i.valid.eq(self.i.valid),
            following.i.payload.work.eq(came),
            following.i.payload.needs_input.eq((came.tile == 0) & (came.value | came.first)),
            self.i.ready.eq(following.i.ready),
        ]
        if self._single:
            m.d.comb += following.i.payload.needs_bank.eq((came.tile == 0) & came.single)
        work, needs_input = following.o.payload.work, following.o.payload.needs_input

        # Tokens: queries of a slot are there, probabilities of a bank are there.
        loaded = Signal(self._slots)
        done = Signal(2)
        has_input = Signal()
        starts = Signal()
        with m.If(work.value):
            m.d.comb += has_input.eq(~needs_input | done.bit_select(work.bank, 1))
            with m.If(starts & needs_input):
                m.d.sync += done.bit_select(work.bank, 1).eq(0)
        with m.Else():
            m.d.comb += has_input.eq(~needs_input | loaded.bit_select(work.slot, 1))
            with m.If(starts & needs_input):
                m.d.sync += loaded.bit_select(work.slot, 1).eq(0)
        if self._single:
            needs_bank = following.o.payload.needs_bank
            holds = Signal(2)  # banks with sums that wait for nothing but to be read
            with m.If(needs_bank & holds.bit_select(work.bank, 1)):
                m.d.comb += has_input.eq(0)
            with m.If(self.drained.valid):
                m.d.sync += holds.bit_select(self.drained.payload.bank, 1).eq(0)
            with m.If(starts & needs_bank):
                m.d.sync += holds.bit_select(work.bank, 1).eq(1)
        with m.If(self.loaded.valid):
            m.d.sync += loaded.bit_select(self.loaded.payload.slot, 1).eq(1)
        with m.If(self.done.valid):
            m.d.sync += done.bit_select(self.done.payload.bank, 1).eq(1)

        # Row and digit counters.
        depth = 6
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=depth)
        room = Signal(range(depth + 1), init=depth)
        came_back = Signal()  # a cycle late: the way here from the matrix unit is long
        digit = Signal()
        running = Signal()
        reads = Signal()
        row_ends = Signal()
        ends = Signal()
        row, is_last_row = count_to(m, work.rows, moves=row_ends, name="row")
        places = count_level(m, room, most=depth, comes=came_back, goes=reads, name="room_")
        m.d.comb += [
            reads.eq(following.o.valid & (running | has_input) & places.has_some),
            starts.eq(reads & ~running),
            row_ends.eq(reads & (~work.value | (digit == self._digits - 1))),
            ends.eq(row_ends & is_last_row),
            following.o.ready.eq(ends),
        ]
        m.d.sync += came_back.eq(queue.o.valid & queue.o.ready)
        with m.If(reads):
            m.d.sync += [running.eq(~ends), digit.eq(Mux(row_ends, 0, 1))]
        m.d.comb += [
            self.queries.en.eq(reads & ~work.value),
            self.queries.bank.eq(work.slot),
            self.queries.address.eq(Cat(work.tile[: self._tile_bits], row[: self._row_bits])),
            self.probabilities.en.eq(reads & work.value),
            self.probabilities.bank.eq(work.bank),
            self.probabilities.row.eq(row),
        ]

        # Out: the first row of a pass waits until the pass before is old enough.
        m.submodules.spacer = spacer = Spacer(
            shape=self.o.payload.shape(), distance=OutputAccumulator.feedback
        )
        connect_stream(m, queue.o, spacer.i)
        connect_stream(m, spacer.o, wiring.flipped(self.o))

        # One cycle later: the row, with its tag.
        arrives = Signal()
        tag = Signal(tag_layout(**self._shape), reset_less=True)
        digit_q = Signal(reset_less=True)
        starts_q = Signal(reset_less=True)
        m.d.sync += [
            arrives.eq(reads),
            digit_q.eq(digit),
            starts_q.eq(starts),
            tag.value.eq(work.value),
            tag.first.eq(Mux(work.value, work.first, work.tile == 0)),
            tag.complete.eq(ends & work.tile_last & (~work.value | work.last)),
            tag.partial.eq(~row_ends),
            tag.slot.eq(work.slot),
            tag.bank.eq(work.bank),
            tag.row.eq(row),
            tag.tile.eq(work.tile),
        ]
        m.d.comb += [
            queue.i.valid.eq(arrives),
            queue.i.payload.new_tile.eq(starts_q),
            queue.i.payload.tag.eq(tag),
            queue.i.payload.tag.rescale.eq(self.probabilities.rescale),
        ]
        for element in range(self._size):
            digits = self.probabilities.digits[element]
            chosen = Mux(digit_q, digits[1], digits[0]) if self._digits == 2 else digits[0]
            m.d.comb += queue.i.payload.row[element].eq(
                Mux(tag.value, chosen.as_signed(), self.queries.data[element])
            )
        return m
