"""What each row has in each KV block: sums of probabilities, by distance."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..adder.tree import SumTree, sum_latency
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import check_chunk, index
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed
from ..lane.rescale import RESCALE, RESCALED_SUM_STAGES, rescaled_sum
from ..lane.tap import weight_tap

__all__ = ["RowPartials", "partial_layout"]


def partial_layout(*, block: int, sum_width: int) -> data.StructLayout:
    """Return the layout of what a ``row`` has in a block.

    ``all``: sum of its probabilities, in units of the running ``maximum``. ``far``: those of keys
    that are the higher number of whole blocks away; the others are one block nearer. ``carry``:
    whether the higher number is one more than that of the blocks' distance; of aligned rows it is.
    ``last``: of the head's last block. ``row_last``: of the last row.
    """
    return data.StructLayout(
        {
            "row": index(block),
            "all": sum_width,
            "far": sum_width,
            "maximum": Numerics.max_width,
            "carry": 1,
            "last": 1,
            "row_last": 1,
        }
    )


class RowPartials(Component):
    """Sum a row's probabilities over a KV block, all of them and those of the farther keys.

    ::

        chunk --> mask --> trees --> over the row --> shift one side, add --> o at the block's end
                                                           ^        |
                                             rescale       |        v
                                                          state memory

    Key ``j`` of a block is the farther the lower it is: by as many whole blocks as key 0 when
    ``j <= (diagonal + row) mod block``, else by one less.

    Parameters
    ----------
    size, row_width, slots, p_width : int
        As of the lane.
    block : int
        Tokens of a block, a power of two and a multiple of ``size``.
    sum_width : int
        Bits of a sum, ``Numerics.acc_guard`` of them below the last place of a probability.

    Members
    -------
    i : In(stream)
        Chunks of probabilities, :func:`~qkloom.rtl.lane.tap.weight_tap`; always taken. A query
        block's tiles come in ascending order, all of its KV blocks; the chunks of a row come one
        after another.
    o : Out(stream)
        :func:`partial_layout`, rows in order, for each block; ``latency`` cycles after the row's
        last chunk of the block.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or block is no power of two and multiple of size.
    """

    feedback = RESCALED_SUM_STAGES + 2
    """Least distance in cycles between the chunks that end a row in one step and in the next."""

    def __init__(
        self, *, size: int, block: int, row_width: int, slots: int, p_width: int, sum_width: int
    ) -> None:
        for name, value in (("Size", size), ("Block", block), ("Slots", slots)):
            check_count(name, value)
        if block & block - 1 or block % size:
            raise ValueError(
                f"Block must be a power of two and a multiple of size {size}, not {block}"
            )
        check_chunk("Row width", row_width, size=size)
        check_count("P width", p_width)
        least = p_width + Numerics.acc_guard + ceil_log2(block)
        if check_count("Sum width", sum_width) < least:
            raise ValueError(f"Sum width must be at least {least}, not {sum_width}")
        self._size, self._block, self._row_width = size, block, row_width
        self._p_width, self._sum_width = p_width, sum_width
        chunk = weight_tap(
            size=size, block_rows=block, row_width=row_width, slots=slots, p_width=p_width
        )
        result = partial_layout(block=block, sum_width=sum_width)
        super().__init__(
            {
                "i": In(stream.Signature(chunk, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the chunk that ends a row to ``o``."""
        return 2 + sum_latency(self._row_width) + 1 + RESCALED_SUM_STAGES

    def elaborate(self, platform: object) -> Module:
        """Find out which keys are farther; sum chunk, row and block."""
        m = Module()
        chunk = self.i.payload
        block_bits = ceil_log2(self._block)

        # Where the chunk is among the block's keys. Tiles are counted: a block has so many.
        tiles = self._block // self._size
        tile = Signal(range(max(tiles, 2)))
        ends_block = Signal()
        is_tile_last = Signal(init=tiles == 1)
        m.d.comb += ends_block.eq(is_tile_last | chunk.place.last)
        with m.If(self.i.valid & chunk.step_end):
            m.d.sync += [
                tile.eq(Mux(ends_block, 0, tile + 1)),
                is_tile_last.eq(Const(1) if tiles == 1 else ~ends_block & (tile == tiles - 2)),
            ]

        # 1: the last key that is far, in the block; and whether the rows have gone on by a block.
        first_key = Signal(block_bits)
        m.d.comb += first_key.eq(tile * self._size)
        start = Signal(block_bits)  # of the rows
        reach = Signal(block_bits + 1, reset_less=True)
        at_chunk = Signal(block_bits + 1, reset_less=True)
        is_aligned = Signal(reset_less=True)
        p_1 = Signal.like(chunk.p, reset_less=True)
        m.d.comb += start.eq(chunk.diagonal + first_key)
        m.d.sync += [
            reach.eq(start + chunk.place.row),
            is_aligned.eq(start == 0),
            at_chunk.eq(first_key + chunk.chunk * self._row_width),
            p_1.eq(chunk.p),
        ]

        # 2: which of the chunk's are far.
        beyond = Signal(range(-self._block, self._block))
        p_2 = Signal.like(chunk.p, reset_less=True)
        far_2 = Signal.like(chunk.p, reset_less=True)
        carry_2 = Signal(reset_less=True)
        m.d.comb += beyond.eq(reach[:block_bits] - at_chunk)
        m.d.sync += [p_2.eq(p_1), carry_2.eq(reach[-1] | is_aligned)]
        for i in range(self._row_width):
            m.d.sync += far_2[i].eq(Mux(beyond >= i, p_1[i], 0))

        # Over the chunk, then over the row.
        in_tree = 2 + sum_latency(self._row_width)
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        tag = Signal(
            data.StructLayout(
                {
                    "place": chunk.place.shape(),
                    "block_first": 1,
                    "block_last": 1,
                    "row_last": 1,
                }
            )
        )
        m.d.comb += [
            tag.place.eq(chunk.place),
            tag.block_first.eq(tile == 0),
            tag.block_last.eq(ends_block),
            tag.row_last.eq(chunk.step_end),
        ]
        at_row = Signal(tag.shape())
        m.d.comb += at_row.eq(delayed(m, tag, in_tree, name="at_row"))
        of_row = {}
        for name, values in (("all", p_2), ("far", far_2)):
            m.submodules[f"{name}_tree"] = tree = SumTree(
                n=self._row_width,
                low=0,
                high=(1 << self._p_width) - 1,
                width=self._p_width + ceil_log2(self._row_width) + 1,
            )
            m.d.comb += tree.i.eq(values)
            so_far = Signal(self._sum_width - Numerics.acc_guard, name=f"{name}_so_far")
            of_row[name] = Signal.like(so_far, name=f"{name}_of_row", reset_less=True)
            m.d.comb += so_far.eq(Mux(at_row.place.begin, 0, of_row[name]))
            m.d.sync += of_row[name].eq((so_far + tree.o.as_unsigned())[: len(so_far)])

        # With what the row has in the block so far: read beside the row's sum, written behind.
        sums = data.StructLayout({"all": self._sum_width, "far": self._sum_width})
        m.submodules.state = state = Memory(shape=sums, depth=self._block, init=[])
        r_port, w_port = state.read_port(), state.write_port()
        m.d.comb += r_port.addr.eq(at_row.place.row)
        first = Signal(reset_less=True)
        rescale = Signal(RESCALE)
        m.d.sync += first.eq(at_row.block_first)
        m.d.comb += rescale.eq(delayed(m, chunk.rescale, in_tree + 1, name="rescale"))
        total = Signal(sums)
        for name, row in of_row.items():
            of_step = Signal(self._sum_width, name=f"{name}_of_step")
            m.d.comb += of_step.eq(row << Numerics.acc_guard)
            m.d.comb += total[name].eq(
                rescaled_sum(m, [r_port.data[name]], [of_step], rescale, first=first, name=name)
            )
        late = self.latency - in_tree
        at_end = Signal(tag.shape())
        result = self.o.payload
        m.d.comb += [
            at_end.eq(delayed(m, at_row, late, name="at_end")),
            w_port.en.eq(valids[-1] & at_end.place.end),
            w_port.addr.eq(at_end.place.row),
            w_port.data.eq(total),
            self.o.valid.eq(w_port.en & at_end.block_last),
            result.row.eq(at_end.place.row),
            result.all.eq(total.all),
            result.far.eq(total.far),
            result.maximum.eq(delayed(m, chunk.maximum, self.latency, name="maximum")),
            result.carry.eq(delayed(m, carry_2, self.latency - 2, name="carry")),
            result.last.eq(at_end.place.last),
            result.row_last.eq(at_end.row_last),
        ]
        return m
