"""Sums of a KV block's scores with all rows: what its averages would score."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..adder.tree import SumTree, sum_latency
from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.job import check_chunk
from ..lane.pipeline import delayed
from ..lane.tap import score_tap

__all__ = ["ScoreSums", "score_sum_layout"]


def score_sum_layout(*, block: int, sum_width: int) -> data.StructLayout:
    """Return the layout of a block's sum of scores: of so many ``keys``."""
    return data.StructLayout({"sum": signed(sum_width), "keys": range(block + 1)})


class ScoreSums(Component):
    """Sum all scores of a KV block, whoever may see them: exactly.

    Parameters
    ----------
    size, row_width, score_width : int
        As of the lane.
    block : int
        Tokens of a block, a multiple of ``size``.
    sum_width : int
        Bits of a sum, signed; more than of a score.

    Members
    -------
    i : In(stream)
        Chunks of scores, :func:`~qkloom.rtl.lane.tap.score_tap`; always taken.
    o : Out(stream)
        :func:`score_sum_layout`, for each block; ``latency`` cycles after its last chunk.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or one does not suit the others.
    """

    def __init__(
        self, *, size: int, block: int, row_width: int, score_width: int, sum_width: int
    ) -> None:
        check_count("Size", size)
        if check_count("Block", block) % size:
            raise ValueError(f"Block must be a multiple of size {size}, not {block}")
        check_chunk("Row width", row_width, size=size)
        check_count("Score width", score_width)
        least = score_width + ceil_log2(row_width)
        if check_count("Sum width", sum_width) < least:
            raise ValueError(f"Sum width must be at least {least}, not {sum_width}")
        self._size, self._tiles, self._row_width = size, block // size, row_width
        self._sum_width = sum_width
        self._score = Integer(score_width)
        chunk = score_tap(size=size, row_width=row_width, score_width=score_width)
        result = score_sum_layout(block=block, sum_width=sum_width)
        super().__init__(
            {
                "i": In(stream.Signature(chunk, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last chunk to ``o``."""
        return 1 + sum_latency(self._row_width) + 2

    def elaborate(self, platform: object) -> Module:
        """Leave out what fills the tile up; sum the chunk; sum chunks in two halves."""
        m = Module()
        chunk = self.i.payload

        # Where the block ends, and how many keys it has had.
        tile = Signal(range(max(self._tiles, 2)))
        ends = Signal()
        keys = Signal.like(self.o.payload["keys"])
        keys_so_far = Signal.like(keys)
        m.d.comb += [
            ends.eq(chunk.step_end & (chunk.last | (tile == self._tiles - 1))),
            keys.eq(keys_so_far + chunk["keys"]),
        ]
        begins = Signal(init=1)
        with m.If(self.i.valid):
            m.d.sync += begins.eq(ends)
            with m.If(chunk.step_end):
                m.d.sync += [tile.eq(Mux(ends, 0, tile + 1)), keys_so_far.eq(Mux(ends, 0, keys))]

        seen = Signal.like(chunk.scores, reset_less=True)
        first = Signal(range(self._size))
        m.d.comb += first.eq(chunk.chunk * self._row_width)
        m.d.sync += seen.eq(0)
        for i in range(self._row_width):
            with m.If(first + i < chunk["keys"]):
                m.d.sync += seen[i].eq(chunk.scores[i])
        m.submodules.tree = tree = SumTree(
            n=self._row_width,
            low=self._score.min_raw,
            high=self._score.max_raw,
            width=self._score.width + ceil_log2(self._row_width),
        )
        m.d.comb += tree.i.eq(seen)

        # The upper half follows a cycle later: no carry runs through all of the sum.
        in_tree = 1 + sum_latency(self._row_width)
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        flags = Signal(2)
        m.d.comb += flags.eq(delayed(m, Cat(begins, ends), in_tree, name="flags"))
        half = len(tree.o) - 1
        lower = Signal(half + 1, reset_less=True)  # the carry on top
        above = Signal(signed(1), reset_less=True)
        later = Signal(2, reset_less=True)
        upper = Signal(signed(self._sum_width - half), reset_less=True)
        lower_late = Signal(half, reset_less=True)
        added = Signal(signed(3))
        m.d.comb += added.eq(above + lower[half])
        with m.If(valids[in_tree - 1]):
            m.d.sync += [
                lower.eq(Mux(flags[0], 0, lower[:half]) + tree.o[:half]),
                above.eq(tree.o[half:].as_signed()),
            ]
        m.d.sync += later.eq(flags)
        with m.If(valids[in_tree]):
            m.d.sync += [
                upper.eq(Mux(later[0], 0, upper) + added),
                lower_late.eq(lower[:half]),
            ]
        result = self.o.payload
        m.d.comb += [
            self.o.valid.eq(valids[-1] & delayed(m, later[1], 1, name="ends")),
            result["sum"].eq(Cat(lower_late, upper)),
            result["keys"].eq(delayed(m, keys, self.latency, name="keys")),
        ]
        return m
