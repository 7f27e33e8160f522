"""Running sum of query rows, from one key tile to the next."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .numerics import Numerics
from .pipeline import delayed, tree, tree_stages
from .place import chunk_layout, row_address, row_layout
from .rescale import RESCALE, RESCALED_SUM_STAGES, rescaled_sum

__all__ = ["RunningSum"]


class RunningSum(Component):
    """Sum of the probabilities that a row has had so far, in units of its running maximum.

    ::

        chunk --> tree --> over the row --> shift one side, add --> o
                                                 ^        |
                            rescale              |        v
                                               state memory

    Parameters
    ----------
    row_width : int
        Probabilities in a chunk.
    p_width, sum_width : int
        Bits of a probability and of a sum, unsigned. A sum has ``Numerics.acc_guard`` bits below
        the last place of a probability.
    block_rows, slots : int
        Rows of a query block, and query blocks, whose sum is kept.

    Members
    -------
    i : In(stream)
        A chunk, always taken. ``p``: probabilities. ``rescale``: see
        :data:`~qkloom.rtl.lane.rescale.RESCALE`; the same in all chunks of a row. ``place``: see
        :func:`~qkloom.rtl.lane.place.chunk_layout`; the chunks of a row come one after another.
    o : Out(stream)
        Sum ``l`` of each row of a query block's last step, ``latency`` cycles after the row's last
        chunk. ``tag``: the row.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a sum narrower than a probability and the
        guard.
    """

    feedback = RESCALED_SUM_STAGES + 2
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
            check_count(name, value)
        least = p_width + Numerics.acc_guard
        if sum_width < least:
            raise ValueError(f"Sum width must be at least {least}, not {sum_width}")
        self._row_width, self._sum_width = row_width, sum_width
        self._rows = {"block_rows": block_rows, "slots": slots}
        chunk = data.StructLayout(
            {
                "p": data.ArrayLayout(p_width, row_width),
                "rescale": RESCALE,
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
        return tree_stages(self._row_width) + 1 + RESCALED_SUM_STAGES

    def elaborate(self, platform: object) -> Module:
        """Sum a chunk and a row; meanwhile read the state; bring both together."""
        m = Module()
        chunk = self.i.payload
        in_tree = tree_stages(self._row_width)
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))

        # Over the chunk, then over the row. A row's chunks leave the tree as they came: in a row.
        of_chunk = tree(
            m, [chunk.p[i] for i in range(self._row_width)], lambda a, b: a + b, name="of_chunk"
        )
        place = Signal(chunk.place.shape())
        so_far = Signal(self._sum_width - Numerics.acc_guard)
        of_row = Signal.like(so_far, reset_less=True)
        m.d.comb += place.eq(delayed(m, chunk.place, in_tree, name="place"))
        m.d.comb += so_far.eq(Mux(place.begin, 0, of_row))
        m.d.sync += of_row.eq((so_far + of_chunk)[: len(of_row)])

        # Read beside the row's sum, written behind the addition: what is read `feedback` cycles
        # later has been.
        address = Signal(len(row_address(place, **self._rows)))
        m.d.comb += address.eq(row_address(place, **self._rows))
        m.submodules.state = state = Memory(shape=self._sum_width, depth=1 << len(address), init=[])
        r_port, w_port = state.read_port(), state.write_port()
        m.d.comb += r_port.addr.eq(address)
        first = Signal(reset_less=True)
        m.d.sync += first.eq(place.first)
        of_step = Signal(self._sum_width)
        rescale = Signal(RESCALE)
        m.d.comb += [
            of_step.eq(of_row << Numerics.acc_guard),
            rescale.eq(delayed(m, chunk.rescale, in_tree + 1, name="rescale")),
        ]
        total = rescaled_sum(m, [r_port.data], [of_step], rescale, first=first, name="total")
        at_end = Signal(place.shape())
        late = self.latency - in_tree
        m.d.comb += [
            at_end.eq(delayed(m, place, late, name="place_write")),
            w_port.en.eq(valids[-1] & at_end.end),
            w_port.addr.eq(row_address(at_end, **self._rows)),
            w_port.data.eq(total),
            self.o.valid.eq(w_port.en & at_end.last),
            self.o.payload.l.eq(total),
            self.o.payload.tag.slot.eq(at_end.slot),
            self.o.payload.tag.row.eq(at_end.row),
        ]
        return m
