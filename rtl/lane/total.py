"""Running sum of query rows, from one key tile to the next."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from .numerics import Numerics
from .pipeline import delayed, shift_right, shift_stages, tree, tree_stages
from .place import chunk_layout, row_address, row_layout

__all__ = ["RunningSum"]

_READ_STAGES = 1
_SHIFT_STAGES = shift_stages(Numerics.shift_width) + 1


class RunningSum(Component):
    """Sum of the probabilities that a row has had so far, shifted whenever the row's maximum rises.

    ::

        chunk --> tree --> over the row ----------------+--> + --> o
        rescale --> shift the state of the row, round --+    |
                               ^                             |
                               +------ state memory <--------+

    Parameters
    ----------
    row_width : int
        Probabilities in a chunk.
    p_width, sum_width : int
        Bits of a probability and of a sum, unsigned.
    block_rows, slots : int
        Rows of a query block, and query blocks, whose sum is kept.

    Members
    -------
    i : In(stream)
        A chunk, always taken. ``p``: probabilities. ``rescale``: right shift of the sum so far.
        ``place``: see :func:`~qkloom.rtl.lane.place.chunk_layout`; the chunks of a row come one
        after another.
    o : Out(stream)
        Sum ``l`` of each row of a query block's last step, ``latency`` cycles after the row's last
        chunk. ``tag``: the row.

    Raises
    ------
    ValueError
        When a parameter is not positive, or a sum narrower than a probability.
    """

    feedback = _READ_STAGES + _SHIFT_STAGES + 2
    """Least distance in cycles between the chunks that end a row in one step and in the next."""

    def __init__(
        self, *, row_width: int, p_width: int, sum_width: int, block_rows: int, slots: int
    ) -> None:
        parameters = {
            "Row width": row_width,
            "P width": p_width,
            "Sum width": sum_width,
            "Block rows": block_rows,
            "Slots": slots,
        }
        for name, value in parameters.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if sum_width < p_width:
            raise ValueError(f"Sum width must be at least P width {p_width}, not {sum_width}")
        self._row_width, self._sum_width = row_width, sum_width
        self._rows = {"block_rows": block_rows, "slots": slots}
        chunk = data.StructLayout(
            {
                "p": data.ArrayLayout(p_width, row_width),
                "rescale": Numerics.shift_width,
                "place": chunk_layout(**self._rows),
            }
        )
        result = data.StructLayout({"l": sum_width, "tag": row_layout(**self._rows)})
        super().__init__(
            {
                "i": In(stream.Signature(chunk, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to ``o``."""
        return self._read_stage + self.feedback - 1

    @property
    def _read_stage(self) -> int:
        """Cycles from a chunk to the read of its row's state, so late that both addends meet."""
        return max(0, tree_stages(self._row_width) + 1 - _READ_STAGES - _SHIFT_STAGES)

    def elaborate(self, platform: object) -> Module:
        """Sum a chunk and a row; shift the state; add both."""
        m = Module()
        chunk = self.i.payload
        in_tree, reads = tree_stages(self._row_width), self._read_stage
        shifts, adds = reads + _READ_STAGES, reads + _READ_STAGES + _SHIFT_STAGES

        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))

        # Over the chunk, then over the row. A row's chunks leave the tree as they came: in a row.
        of_chunk = tree(
            m, [chunk.p[i] for i in range(self._row_width)], lambda a, b: a + b, name="of_chunk"
        )
        of_row = Signal(self._sum_width, reset_less=True)
        so_far = Signal(self._sum_width)
        begin = delayed(m, chunk.place.begin, in_tree, name="begin")
        m.d.comb += so_far.eq(Mux(begin, 0, of_row))
        m.d.sync += of_row.eq((so_far + of_chunk)[: self._sum_width])
        addend = delayed(m, of_row, adds - in_tree - 1, name="addend")

        # The state, shifted; one spare bit below keeps the bit shifted out last, which rounds.
        read_place = Signal(chunk.place.shape())
        m.d.comb += read_place.eq(delayed(m, chunk.place, reads, name="place_read"))
        state = Memory(
            shape=self._sum_width, depth=1 << len(row_address(read_place, **self._rows)), init=[]
        )
        m.submodules.state = state
        r_port, w_port = state.read_port(), state.write_port()
        m.d.comb += r_port.addr.eq(row_address(read_place, **self._rows))
        amount = delayed(m, chunk.rescale, shifts, name="amount")
        (shifted,) = shift_right(m, [Cat(Const(0, 1), r_port.data)], amount, name="shifted")
        rescaled = Signal(self._sum_width, reset_less=True)
        first = delayed(m, chunk.place.first, adds - 1, name="first")
        m.d.sync += rescaled.eq(Mux(first, 0, ((shifted + 1) >> 1)[: self._sum_width]))

        # Read at `reads`, written behind this addition: `feedback` cycles later a read sees it.
        total = Signal(self._sum_width, reset_less=True)
        m.d.sync += total.eq((rescaled + addend)[: self._sum_width])
        place = Signal(chunk.place.shape())
        rest = self.latency - reads
        m.d.comb += [
            place.eq(delayed(m, read_place, rest, name="place_write")),
            w_port.en.eq(valids[-1] & place.end),
            w_port.addr.eq(row_address(place, **self._rows)),
            w_port.data.eq(total),
            self.o.valid.eq(w_port.en & place.last),
            self.o.payload.l.eq(total),
            self.o.payload.tag.slot.eq(place.slot),
            self.o.payload.tag.row.eq(place.row),
        ]
        return m
