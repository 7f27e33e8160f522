"""The tile loader: brings the tile of each pass from its buffer into the matrix unit."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.tile import TileBuffer
from ..component import Component
from ..formats import Integer
from ..stream import Queue
from .job import check_operand, check_shape, pass_layout

__all__ = ["TileLoader"]


class TileLoader(Component):
    """Load one tile per pass: keys by columns, values by rows.

    The product with a query sums over elements, so a key tile stands transposed in the array; the
    product with probabilities sums over tokens, so a value tile stands as it lies in memory.

    ::

        keys   --> TileBuffer (columns) --+
                                          +--> tile
        values --> TileBuffer (rows) -----+
                      ^ one read per pass, in the order of the passes

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of the lane.
    is_signed : bool
        Whether probability digits, which stream under value tiles, are signed.
    stationary_width : int
        Bits of an element.

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
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_operand("Stationary width", stationary_width)
        if size < 2 or size & size - 1:
            raise ValueError(f"Size must be a power of two of at least 2, not {size}")
        self._size, self._tiles, self._is_signed = size, head_dim // size, is_signed
        self._element = Integer(stationary_width)
        row = data.ArrayLayout(self._element, size)
        rows = In(stream.Signature(data.StructLayout({"row": row, "last": 1})))
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        pass_layout(
                            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
                        )
                    )
                ),
                "keys": rows,
                "values": rows,
                "tile": Out(stream.Signature(data.StructLayout({"row": row, "is_signed": 1}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Send each pass's read to its buffer; remember the order for the way back."""
        m = Module()
        buffers = {}
        for name, rows in (("keys", self.keys), ("values", self.values)):
            buffer = TileBuffer(
                size=self._size,
                tiles=self._tiles,
                columns=name == "keys",
                element=self._element,
            )
            m.submodules[name] = buffers[name] = buffer
            wiring.connect(m, wiring.flipped(rows), buffer.i)
        m.submodules.order = order = Queue(shape=1, depth=4)

        # Going in: the order is noted in the first cycle of a pass, its read lasts `size` cycles.
        work = self.i.payload
        noted = Signal()
        may_read = Signal()
        m.d.comb += [
            order.i.valid.eq(self.i.valid & ~noted),
            order.i.payload.eq(work.value),
            may_read.eq(self.i.valid & (noted | order.i.ready)),
        ]
        with m.If(may_read):
            m.d.sync += noted.eq(~self.i.ready)
        for name, buffer in buffers.items():
            m.d.comb += buffer.read.payload.tile.eq(work.tile)
            m.d.comb += buffer.read.payload.release.eq(work.tile_last)
            with m.If(work.value == (name == "values")):
                m.d.comb += buffer.read.valid.eq(may_read)
                m.d.comb += self.i.ready.eq(buffer.read.ready)

        # Coming back: `size` rows from the buffer whose turn it is.
        row = Signal(range(self._size))
        tile = self.tile.payload
        m.d.comb += tile.is_signed.eq(~order.o.payload | self._is_signed)
        for name, buffer in buffers.items():
            with m.If(order.o.payload == (name == "values")):
                m.d.comb += [
                    tile.row.eq(buffer.o.payload),
                    self.tile.valid.eq(order.o.valid & buffer.o.valid),
                    buffer.o.ready.eq(order.o.valid & self.tile.ready),
                ]
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += row.eq(row + 1)
            m.d.comb += order.o.ready.eq(row == self._size - 1)
        return m
