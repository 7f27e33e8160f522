"""The tile buffer: token-major rows in, tiles out."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value
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

    With ``repeats`` strips may be read as a row, and the same row once more: a read that goes
    ``on`` leaves its strip where it is and turns to the next one, one that goes ``back`` turns to
    the oldest strip. A strip is released only by who has gone past none.

    Parameters
    ----------
    size : int
        Rows and columns of a tile; a power of two.
    tiles : int
        Most tiles side by side in a strip.
    strips : int
        Strips held: 2 lets one fill while the other is read.
    repeats : bool
        Whether reads may go on and back.
    element : NumberFormat
        What is stored.

    Members
    -------
    i : In(stream)
        ``row``: one chunk of a token, ``last``: it is the token's last chunk. Ready while a strip
        is free.
    read : In(stream)
        ``tile``: which chunk to read from the oldest strip, ``release``: the strip is not needed
        afterwards. With ``repeats``, ``on`` and ``back``, of which one at most is set, as
        ``release``. Taken once the strip is complete.
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
        repeats: bool = False,
    ) -> None:
        check_count("Tile size", size)
        if size < 2 or size & size - 1:
            raise ValueError(f"Tile size must be a power of two of at least 2, not {size!r}")
        check_count("Number of tiles", tiles)
        check_count("Number of strips", strips)
        self._size, self._tiles, self._strips = size, tiles, strips
        self._element, self._repeats = element, repeats
        turns = {"on": 1, "back": 1} if repeats else {}
        row = data.ArrayLayout(element, size)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"row": row, "last": 1}))),
                "read": In(
                    stream.Signature(
                        data.StructLayout({"tile": range(max(tiles, 2)), "release": 1, **turns})
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
        has_strip: Signal  # the one whose turn it is to be read is there
        if self._repeats:
            r_strip, has_strip = self._walk(m, n_full, was_filled, freed)
        else:
            r_strip = Signal(range(self._strips))
            has_strip = count_level(
                m, n_full, most=self._strips, comes=was_filled, goes=freed, name="full_"
            ).has_some
            with m.If(freed):
                m.d.sync += r_strip.eq(self._behind(r_strip))
        free = count_level(m, n_free, most=self._strips, comes=was_freed, goes=filled, name="free_")

        # Writer
        w_strip = Signal(range(self._strips))
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
            m.d.sync += w_strip.eq(self._behind(w_strip))

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
        m.d.comb += r_en.eq(self.read.valid & has_strip & places.has_some)
        m.d.sync += came_back.eq(self.o.valid & self.o.ready)
        m.d.sync += r_valid.eq(r_en)
        m.d.comb += self.read.ready.eq(r_en & beat_is_last)
        m.d.comb += freed.eq(self.read.ready & self.read.payload.release)
        with m.If(r_en):
            m.d.sync += [beat.eq(beat + 1), beat_is_last.eq(beat == size - 2)]

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

    def _behind(self, strip: Signal) -> Value:
        """Return the number of the strip behind one."""
        return Mux(strip == self._strips - 1, 0, strip + 1)

    def _walk(
        self, m: Module, n_unread: Signal, was_filled: Signal, freed: Signal
    ) -> tuple[Signal, Signal]:
        """Go on, and back to the oldest strip; return the strip to read, and whether it is there.

        ``n_unread`` counts the strips that are there, from this one on.
        """
        read = self.read
        oldest = Signal(range(self._strips))
        r_strip = Signal.like(oldest)
        n_passed = Signal.like(n_unread)  # from the oldest strip to this one
        goes_on, goes_back = Signal(), Signal()
        # What is passed again is there in any case: it may be counted a cycle late.
        returned = Signal.like(n_unread)
        n_next = Signal.like(n_unread)
        has_strip = Signal()
        m.d.comb += [
            goes_on.eq(read.ready & read.payload.on),
            goes_back.eq(read.ready & read.payload.back),
            n_next.eq(n_unread + was_filled + returned - (freed | goes_on)),
        ]
        m.d.sync += [
            n_unread.eq(n_next),
            has_strip.eq(n_next.any()),
            returned.eq(Mux(goes_back, n_passed, 0)),
        ]
        with m.If(freed):
            m.d.sync += oldest.eq(self._behind(oldest))
        with m.If(freed | goes_on):
            m.d.sync += r_strip.eq(self._behind(r_strip))
        with m.If(goes_on):
            m.d.sync += n_passed.eq(n_passed + 1)
        with m.If(goes_back):
            m.d.sync += [r_strip.eq(oldest), n_passed.eq(0)]
        return r_strip, has_strip
