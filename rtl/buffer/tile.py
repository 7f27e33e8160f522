"""The tile buffer: token-major rows in, tiles out."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import I8, NumberFormat, ceil_log2
from ..stream import Queue
from ..stream.level import count_level

__all__ = ["TileBuffer"]


class TileBuffer(Component):
    """Double buffer in front of a matrix unit: keeps strips of tokens, gives out square tiles.

    A *strip* is ``size`` tokens of up to ``tiles * size`` elements. Rows arrive in memory order, so
    that a burst from memory needs no rearranging: all chunks of token 0, all of token 1, and so on.
    A tile is one chunk of each token, and leaves by rows, one token a beat.

    ::

        i --> memory --> queue --> o
                ^
                +-- read (tile, release)

    Parameters
    ----------
    size : int
        Rows and columns of a tile; a power of two.
    tiles : int
        Most tiles side by side in a strip.
    strips : int
        Strips held: 2 lets one fill while the other is read.
    element : NumberFormat
        What is stored.

    Members
    -------
    i : In(stream)
        ``row``: one chunk of a token, ``last``: it is the token's last chunk. Ready while a strip
        is free.
    read : In(stream)
        ``tile``: which chunk to read from the oldest strip, ``release``: the strip is not needed
        afterwards. Taken once the strip is complete.
    o : Out(stream)
        ``size`` beats per read, one a cycle when taken; latency from ``read`` 2 cycles.

    Raises
    ------
    TypeError, ValueError
        When ``size`` is not a power of two, or a count is not positive.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        tiles: int,
        strips: int = 2,
        element: NumberFormat = I8,
    ) -> None:
        check_count("Tile size", size)
        if size < 2 or size & size - 1:
            raise ValueError(f"Tile size must be a power of two of at least 2, not {size!r}")
        check_count("Number of tiles", tiles)
        check_count("Number of strips", strips)
        self._size, self._tiles, self._strips = size, tiles, strips
        self._element = element
        row = data.ArrayLayout(element, size)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"row": row, "last": 1}))),
                "read": In(
                    stream.Signature(
                        data.StructLayout({"tile": range(max(tiles, 2)), "release": 1})
                    )
                ),
                "o": Out(stream.Signature(row)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build writer, banks, reader and output queue."""
        m = Module()
        size = self._size
        index_bits, tile_bits = ceil_log2(size), ceil_log2(self._tiles)
        depth = self._strips << tile_bits + index_bits

        # Strips: filled by the writer, freed by the reader, both in order.
        # Each side learns a cycle late what the other has done: the ways to both are long.
        filled = Signal()
        freed = Signal()
        was_filled = Signal()
        was_freed = Signal()
        m.d.sync += [was_filled.eq(filled), was_freed.eq(freed)]
        n_strips = range(self._strips + 1)
        n_full = Signal(n_strips)
        n_free = Signal(n_strips, init=self._strips)
        full = count_level(m, n_full, most=self._strips, comes=was_filled, goes=freed, name="full_")
        free = count_level(m, n_free, most=self._strips, comes=was_freed, goes=filled, name="free_")

        # Writer
        w_strip = Signal(range(self._strips))
        r_strip = Signal(range(self._strips))
        token = Signal(index_bits)
        chunk = Signal(tile_bits)
        m.d.comb += self.i.ready.eq(free.has_some)
        w_en = Signal()
        m.d.comb += w_en.eq(self.i.valid & self.i.ready)
        token_is_last = Signal()  # ahead of the paths from whoever sends rows
        m.d.comb += filled.eq(w_en & self.i.payload.last & token_is_last)
        with m.If(w_en):
            m.d.sync += chunk.eq(chunk + 1)
            with m.If(self.i.payload.last):
                m.d.sync += [chunk.eq(0), token.eq(token + 1), token_is_last.eq(token == size - 2)]
        with m.If(filled):
            m.d.sync += w_strip.eq(Mux(w_strip == self._strips - 1, 0, w_strip + 1))

        # Reader: `size` beats per request, admitted while the output queue has room for what is in
        # flight.
        queue_depth = 5
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=queue_depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        beat = Signal(index_bits)
        beat_is_last = Signal()
        room = Signal(range(queue_depth + 1), init=queue_depth)
        came_back = Signal()  # a cycle late: the way here from who takes rows is long
        r_en = Signal()
        r_valid = Signal()
        places = count_level(m, room, most=queue_depth, comes=came_back, goes=r_en, name="room_")
        m.d.comb += r_en.eq(self.read.valid & full.has_some & places.has_some)
        m.d.sync += came_back.eq(self.o.valid & self.o.ready)
        m.d.sync += r_valid.eq(r_en)
        m.d.comb += self.read.ready.eq(r_en & beat_is_last)
        m.d.comb += freed.eq(self.read.ready & self.read.payload.release)
        with m.If(r_en):
            m.d.sync += [beat.eq(beat + 1), beat_is_last.eq(beat == size - 2)]
        with m.If(freed):
            m.d.sync += r_strip.eq(Mux(r_strip == self._strips - 1, 0, r_strip + 1))

        m.submodules.rows = memory = Memory(shape=queue.i.payload.shape(), depth=depth, init=[])
        w, r = memory.write_port(), memory.read_port()
        m.d.comb += [
            w.en.eq(w_en),
            w.addr.eq(Cat(token, chunk, w_strip)),
            w.data.eq(self.i.payload.row),
            r.en.eq(r_en),
            r.addr.eq(Cat(beat, self.read.payload.tile[:tile_bits], r_strip)),
            queue.i.valid.eq(r_valid),
            queue.i.payload.eq(r.data),
        ]
        return m
