"""The query buffer: the query rows of each slot, loaded once and streamed for every key tile."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..buffer.port import read_port
from ..component import Component
from ..formats import Integer, ceil_log2
from .count import count_to
from .job import block_layout, check_operand, check_shape, index

__all__ = ["QueryBuffer"]


class QueryBuffer(Component):
    """Hold the query rows of each slot; load a slot as soon as it is free.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    stream_width : int
        Bits of an element.

    Members
    -------
    load : In(stream)
        ``slot``, ``rows``, ``d_tiles`` of the next query block. Taken when its last row is stored.
    i : In(stream)
        Rows in memory order: chunks of ``size`` elements, token-major. One a cycle.
    loaded : Out(stream)
        The slot, once per query block, the cycle after its last row; the order of ``load``.
    freed : In(stream)
        A slot whose output has left the lane. All slots are free after reset.
    r : In(read_port)
        ``bank`` is the slot, ``address`` is tile (low bits) and row.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane.
    """

    def __init__(
        self, *, size: int, block_rows: int, head_dim: int, slots: int, stream_width: int = 8
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_operand("Stream width", stream_width)
        self._tile_bits = ceil_log2(head_dim // size)
        self._depth = block_rows << self._tile_bits
        self._slots = slots
        self._row = data.ArrayLayout(Integer(stream_width), size)
        slot = data.StructLayout({"slot": index(slots)})
        super().__init__(
            {
                "load": In(
                    stream.Signature(
                        block_layout(
                            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
                        )
                    )
                ),
                "i": In(stream.Signature(self._row)),
                "loaded": Out(stream.Signature(slot, always_ready=True)),
                "freed": In(stream.Signature(slot, always_ready=True)),
                "r": In(read_port(banks=slots, depth=self._depth, shape=self._row)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build one memory for all slots, and the counters of the loader."""
        m = Module()
        depth_bits = ceil_log2(self._depth)
        m.submodules.memory = memory = Memory(
            shape=self._row, depth=self._slots << depth_bits, init=[]
        )
        w, r = memory.write_port(), memory.read_port()
        load = self.load.payload
        m.d.comb += [
            r.en.eq(self.r.en),
            r.addr.eq(Cat(self.r.address[:depth_bits], self.r.bank)),
            self.r.data.eq(r.data),
        ]

        busy = Signal(self._slots)
        admitted = Signal()
        m.d.comb += admitted.eq(self.load.valid & ~busy.bit_select(load.slot, 1))
        m.d.comb += self.i.ready.eq(admitted)
        row_ends = Signal()
        tile, is_last_tile = count_to(m, load.d_tiles, moves=w.en, name="tile")
        row, is_last_row = count_to(m, load.rows, moves=row_ends, name="row")
        m.d.comb += [
            row_ends.eq(w.en & is_last_tile),
            w.en.eq(admitted & self.i.valid),
            w.data.eq(self.i.payload),
            w.addr.eq(Cat(tile[: self._tile_bits], row[: depth_bits - self._tile_bits], load.slot)),
            self.load.ready.eq(row_ends & is_last_row),
        ]
        m.d.sync += [
            self.loaded.valid.eq(self.load.ready),
            self.loaded.payload.slot.eq(load.slot),
        ]
        with m.If(self.freed.valid):
            m.d.sync += busy.bit_select(self.freed.payload.slot, 1).eq(0)
        with m.If(self.load.ready):
            m.d.sync += busy.bit_select(load.slot, 1).eq(1)
        return m
