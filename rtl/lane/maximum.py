"""Running maximum of query rows, from one key tile to the next."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .numerics import Numerics
from .pipeline import delayed, tree, tree_stages
from .place import chunk_layout, row_address

__all__ = ["RunningMaximum"]


class RunningMaximum(Component):
    """Largest element of a tile's row, and of the row before that tile, rounded up to integers.

    ::

        chunk --> tree --> over the row --> round up -+-> with the state of the row -> o
                                                      |                 ^
                                                      +-> larger -> state memory

    Parameters
    ----------
    row_width : int
        Elements in a chunk.
    block_rows, slots : int
        Rows of a query block, and query blocks, whose maximum is kept.

    Members
    -------
    i : In(stream)
        A chunk, always taken. ``x``: elements with one fraction bit, which says whether there is
        anything below the integer; what does not count is as low as it gets. ``place``: see
        :func:`~qkloom.rtl.lane.place.chunk_layout`; the chunks of a row come one after another.
    o : Out(stream)
        Per row, ``latency`` cycles after its last chunk: the maximum of these chunks, ``tile``, and
        that of all steps ``before``. They stay until the next row's.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    feedback = 3
    """Least distance in cycles between the chunks that end a row in one step and in the next."""

    def __init__(self, *, row_width: int, block_rows: int, slots: int) -> None:
        parameters = {"Row width": row_width, "Block rows": block_rows, "Slots": slots}
        for name, value in parameters.items():
            check_count(name, value)
        self._row_width = row_width
        self._rows = {"block_rows": block_rows, "slots": slots}
        integer = signed(Numerics.max_width)
        chunk = data.StructLayout(
            {
                "x": data.ArrayLayout(signed(Numerics.max_width + 1), row_width),
                "place": chunk_layout(**self._rows),
            }
        )
        result = data.StructLayout({"tile": integer, "before": integer})
        super().__init__(
            {
                "i": In(stream.Signature(chunk, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to ``o``."""
        return tree_stages(self._row_width) + 3

    def elaborate(self, platform: object) -> Module:
        """Reduce a chunk, a row, the steps."""
        m = Module()
        chunk = self.i.payload
        in_tree = tree_stages(self._row_width)

        def largest(a: Value, b: Value) -> Value:
            return Mux(a > b, a, b)

        highest = tree(m, [chunk.x[i] for i in range(self._row_width)], largest, name="highest")

        # What belongs to the chunk that leaves the tree, and to the one 1, 2, 3 cycles further.
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        valids = Cat(self.i.valid, valids)[in_tree:]
        places = [Signal(chunk.place.shape(), name=f"place_{i}", reset_less=True) for i in range(4)]
        m.d.comb += places[0].eq(delayed(m, chunk.place, in_tree, name="place"))
        m.d.sync += [new.eq(old) for old, new in pairwise(places)]

        # 0: over the chunks of the row
        of_row = Signal(signed(Numerics.max_width + 1), reset_less=True)
        with m.If(valids[0] & (places[0].begin | (highest > of_row))):
            m.d.sync += of_row.eq(highest)

        # 1: round up. No element is above 2**15 - 1, so this does not overflow.
        rounded = Signal(signed(Numerics.max_width), reset_less=True)
        m.d.sync += rounded.eq((of_row >> 1) + of_row[0])

        # 2: the steps before; the state has been read meanwhile.
        state = Memory(
            shape=signed(Numerics.max_width), depth=1 << len(self._address(places[0])), init=[]
        )
        m.submodules.state = state
        r_port, w_port = state.read_port(), state.write_port()
        maximum = Signal(signed(Numerics.max_width), reset_less=True)
        of_tile = Signal(signed(Numerics.max_width), reset_less=True)
        earlier = Signal(signed(Numerics.max_width), reset_less=True)
        m.d.comb += r_port.addr.eq(self._address(places[1]))
        with m.If(valids[2] & places[2].end):
            m.d.sync += [maximum.eq(r_port.data), earlier.eq(r_port.data), of_tile.eq(rounded)]
            with m.If(places[2].first | (rounded > r_port.data)):
                m.d.sync += maximum.eq(rounded)
            with m.If(places[2].first):
                m.d.sync += earlier.eq(-(1 << Numerics.max_width - 1))

        # 3: write back. Read at 1, written at 3: a read at 4 sees it.
        m.d.comb += [
            self.o.valid.eq(valids[3] & places[3].end),
            self.o.payload.tile.eq(of_tile),
            self.o.payload.before.eq(earlier),
            w_port.en.eq(self.o.valid),
            w_port.addr.eq(self._address(places[3])),
            w_port.data.eq(maximum),
        ]
        return m

    def _address(self, place: data.View) -> Value:
        return row_address(place, **self._rows)
