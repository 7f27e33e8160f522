"""The tile loader: brings the tile of each pass from its buffer into the matrix unit."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.tile import TileBuffer
from ..buffer.transpose import Transposer
from ..component import Component
from ..formats import Integer
from ..stream import Queue, connect_stream
from .job import PLANES, check_operand, check_shape, pass_layout

__all__ = ["TileLoader"]


class TileLoader(Component):
    """Load one tile per pass: keys by columns, values by rows.

    The product with a query sums over elements, so a key tile stands transposed in the array; the
    product with probabilities sums over tokens, so a value tile stands as it lies in memory.

    ::

        keys   --> TileBuffer --> Transposer --+
                                               +--> tile
        values --> TileBuffer -----------------+
                      ^ one read per pass          ^ the order of the passes

    Keys and values are read each in an order of their own: while a tile of values waits for the
    matrix unit, the next tile of keys is transposed already.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    is_signed : bool
        Whether probability digits, which stream under value tiles, are signed.
    stationary_width : int
        Bits of an element.
    runtime_precision : bool
        Whether passes say how many bits of queries count, and tiles how many bits of what streams.
    digit_planes : int
        Bits of a digit, which tiles of values say then.
    strips : int
        Strips of keys, and of values, that are kept.
    repeats : bool
        Whether passes may say that tiles stay, for the next job of the same KV block.

    Members
    -------
    i : In(stream)
        Passes.
    keys, values : In(stream)
        Token-major rows; see :class:`~qkloom.rtl.buffer.tile.TileBuffer`.
    tile : Out(stream)
        ``size`` rows per pass, one a cycle.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane, or ``size`` is not a power of two.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        slots: int,
        is_signed: bool,
        stationary_width: int = 8,
        runtime_precision: bool = False,
        digit_planes: int | None = None,
        strips: int = 2,
        repeats: bool = False,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_operand("Stationary width", stationary_width)
        if size < 2 or size & size - 1:
            raise ValueError(f"Size must be a power of two of at least 2, not {size}")
        self._size, self._tiles, self._is_signed = size, head_dim // size, is_signed
        self._element, self._strips = Integer(stationary_width), strips
        self._repeats = repeats
        self._digit_planes = digit_planes
        if runtime_precision and digit_planes not in PLANES[1:]:
            raise ValueError(
                f"Digit planes must be 1 to {PLANES[-1]} with runtime precision, "
                f"not {digit_planes!r}"
            )
        self._planes = {"planes": PLANES} if runtime_precision else {}
        row = data.ArrayLayout(self._element, size)
        rows = In(stream.Signature(data.StructLayout({"row": row, "last": 1})))
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        pass_layout(
                            size=size,
                            block_rows=block_rows,
                            head_dim=head_dim,
                            slots=slots,
                            runtime_precision=runtime_precision,
                            repeats=repeats,
                        )
                    )
                ),
                "keys": rows,
                "values": rows,
                "tile": Out(
                    stream.Signature(
                        data.StructLayout({"row": row, "is_signed": 1, **self._planes})
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Send each pass's read to its buffer; remember the order for the way back."""
        m = Module()
        work = self.i.payload
        turn = data.StructLayout({"value": 1, **self._planes})
        m.submodules.order = order = Queue(shape=turn, depth=4, registered=True)
        is_value = order.o.payload.value
        m.submodules.transposer = transposer = Transposer(size=self._size, element=self._element)
        tiles = {}
        takes = Signal()
        m.d.comb += [
            order.i.valid.eq(self.i.valid & takes),
            order.i.payload.value.eq(work.value),
            self.i.ready.eq(order.i.ready & takes),
        ]
        for name, rows in (("keys", self.keys), ("values", self.values)):
            buffer = TileBuffer(
                size=self._size,
                tiles=self._tiles,
                strips=self._strips,
                element=self._element,
                repeats=self._repeats,
            )
            m.submodules[name] = buffer
            wiring.connect(m, wiring.flipped(rows), buffer.i)
            m.submodules[f"{name}_reads"] = reads = Queue(
                shape=buffer.read.payload.shape(), depth=2
            )
            connect_stream(m, reads.o, buffer.read)
            mine = Signal(name=f"is_{name}")
            m.d.comb += [
                mine.eq(work.value == (name == "values")),
                reads.i.valid.eq(self.i.valid & order.i.ready & mine),
                reads.i.payload.tile.eq(work.tile),
                reads.i.payload.release.eq(work.tile_last),
            ]
            if self._repeats:
                stays, read = work.tile_last & work.keeps, reads.i.payload
                m.d.comb += [
                    read.release.eq(work.tile_last & ~work.keeps),
                    read.on.eq(stays & ~work.back),
                    read.back.eq(stays & work.back),
                ]
            with m.If(mine):
                m.d.comb += takes.eq(reads.i.ready)
            tiles[name] = buffer.o
        connect_stream(m, tiles["keys"], transposer.i)
        tiles["keys"] = transposer.o

        # Coming back: `size` rows from the buffer whose turn it is.
        row = Signal(range(self._size))
        tile = self.tile.payload
        m.d.comb += tile.is_signed.eq(~is_value | self._is_signed)
        if self._planes:
            m.d.comb += [
                order.i.payload.planes.eq(Mux(work.value, self._digit_planes, work.planes)),
                tile.planes.eq(order.o.payload.planes),
            ]
        for name, rows in tiles.items():
            with m.If(is_value == (name == "values")):
                m.d.comb += [
                    tile.row.eq(rows.payload),
                    self.tile.valid.eq(order.o.valid & rows.valid),
                    rows.ready.eq(order.o.valid & self.tile.ready),
                ]
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += row.eq(row + 1)
            m.d.comb += order.o.ready.eq(row == self._size - 1)
        return m
