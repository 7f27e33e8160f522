"""Which keys of a tile a query row may see."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .job import check_chunk, index
from .pipeline import delayed

__all__ = ["Mask"]


class Mask(Component):
    """Tell for each key of a chunk whether a row may see it: it exists and is not in the future.

    Parameters
    ----------
    size : int
        Keys of a tile.
    row_width : int
        Keys of a chunk; divides ``size``.
    block_rows : int
        Rows of a query block.
    tokens : int
        Longest sequence.

    Members
    -------
    i : In
        ``row`` and ``chunk``; ``keys`` of the tile that exist; ``causal`` and ``diagonal``: key
        ``c`` of the tile is in the future of row ``i`` when ``causal`` and ``c > diagonal + i``.
    o : Out(row_width)
        Bit ``j`` tells about key ``chunk * row_width + j``, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``row_width`` does not divide ``size``.
    """

    latency = 5
    """Cycles from ``i`` to ``o``."""

    def __init__(self, *, size: int, row_width: int, block_rows: int, tokens: int) -> None:
        parameters = {"Size": size, "Block rows": block_rows, "Tokens": tokens}
        for name, value in parameters.items():
            check_count(name, value)
        check_chunk("Row width", row_width, size=size)
        self._size, self._row_width = size, row_width
        question = data.StructLayout(
            {
                "row": index(block_rows),
                "chunk": index(size // row_width),
                "keys": range(size + 1),
                "causal": 1,
                "diagonal": signed(ceil_log2(tokens) + 2),
            }
        )
        super().__init__({"i": In(question), "o": Out(row_width)})

    def elaborate(self, platform: object) -> Module:
        """Count the visible keys of the row, which are always its first ones; compare."""
        m = Module()
        size, i = self._size, self.i

        def register(name: str, shape: object) -> Signal:
            return Signal(shape, name=name, reset_less=True)

        # 1, 2, 3: all keys up to the diagonal, within the tile, that exist
        past = register("past", (i.diagonal + i.row + 1).shape())
        m.d.sync += past.eq(i.diagonal + i.row + 1)
        in_tile = register("in_tile", range(size + 1))
        m.d.sync += in_tile.eq(Mux(past < 0, 0, Mux(past > size, size, past[: len(in_tile)])))
        with m.If(~delayed(m, i.causal, 1, name="causal")):
            m.d.sync += in_tile.eq(size)
        keys, n_visible = delayed(m, i.keys, 2, name="keys"), register("n_visible", i.keys.shape())
        m.d.sync += n_visible.eq(Mux(in_tile < keys, in_tile, keys))

        # 4, 5: those of them that are in this chunk or later
        chunk = delayed(m, i.chunk, 3, name="chunk")
        left = register("left", range(-size, size + 1))
        m.d.sync += left.eq(n_visible - chunk * self._row_width)
        visible = register("visible", self._row_width)
        for j in range(self._row_width):
            m.d.sync += visible[j].eq(left > j)
        m.d.comb += self.o.eq(visible)
        return m
