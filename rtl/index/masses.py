"""Where the last queries of a head attend: attention per block column and block diagonal."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.numerics import Numerics
from ..lane.place import row_layout
from ..lane.reciprocal import reciprocal_layout
from ..lane.tap import score_tap, weight_tap
from ..product import Product
from ..stream import Queue, connect_stream
from ..stream.level import count_level
from .diagonal import Diagonals
from .mean import Mean
from .numerics import IndexNumerics
from .partial import RowPartials
from .score_sum import ScoreSums
from .table import PartialTable
from .weigh import Weigher

__all__ = ["BlockMasses", "mass_layout"]

_ROWS = 4
"""Rows that are weighed a cycle: a head's blocks are done in a fraction of their scores' time."""
_AHEAD = 4
"""Blocks that are on their way through the weigher."""


def mass_layout(numerics: IndexNumerics) -> data.StructLayout:
    """Return the layout of what a head has in block ``b`` of ``n``, ``last`` one included.

    ``vertical``: attention of the block's column, in units of ``2**-mass_fraction`` of a query's.
    ``slash``: attention of block diagonal ``n - 1 - b``. ``mean``: the block's mean score.

    Raises
    ------
    ValueError
        When a block is none that a lane can have masses of.
    """
    block, unit = numerics.block, max(numerics.lane.size, _ROWS)
    if block & block - 1 or block % unit:
        raise ValueError(f"Block must be a power of two and a multiple of {unit}, not {block}")
    return data.StructLayout(
        {
            "vertical": numerics.mass_width,
            "slash": numerics.mass_width,
            "mean": signed(numerics.mean_width),
            "last": 1,
        }
    )


class BlockMasses(Component):
    """Watch a lane as it scores a head's last queries; say what they attend to, block by block.

    ::

        weights --> row partials --> table of rows x blocks --+
        reciprocals, maxima --> state of rows ----------------+--> weigher --> vertical, slash --+
        scores --> score sums --> table of blocks --> mean ---------------------------------> o

    Keys pass once: what a row has in a block waits, in units of the maximum so far, until the row's
    sum of everything is known. Then a block takes ``block / 4 + 1`` cycles, and at least as many as
    its mean has bits, about 30.

    Parameters
    ----------
    size, row_width, slots, head_dim, p_width, segments, fraction : int
        As of the lane.
    block : int
        Tokens of a block, a power of two, a multiple of ``size`` and of 4.
    tokens : int
        Longest sequence that is selected from.
    lane_tokens : int
        Longest sequence of the lane.
    stream_width, stationary_width, memory
        As of the lane.

    Members
    -------
    weights, scores : In(stream)
        What the row unit shows: :mod:`~qkloom.rtl.lane.tap`. Always taken.
    reciprocals : In(stream)
        Of the sums of a query block's rows, in order. Always taken.
    may_start : Out(1)
        A step may start; the first one of a head waits until the head before has been weighed.
    step : In(1), last_step : In(1)
        The row unit takes a step; it is a head's last.
    o : Out(stream)
        :func:`mass_layout`, blocks in ascending order.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        block: int,
        tokens: int,
        row_width: int,
        slots: int,
        head_dim: int,
        lane_tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        stream_width: int = 8,
        stationary_width: int = 8,
        memory: str = "auto",
    ) -> None:
        lane = Numerics(
            size=size,
            head_dim=head_dim,
            tokens=lane_tokens,
            p_width=p_width,
            segments=segments,
            fraction=fraction,
            stream_width=stream_width,
            stationary_width=stationary_width,
        )
        self._memory = memory
        self._numerics = numerics = IndexNumerics(lane=lane, block=block, tokens=tokens)
        check_count("Slots", slots)
        masses = mass_layout(numerics)
        self._partials: dict[str, Any] = dict(
            size=size,
            block=block,
            row_width=row_width,
            slots=slots,
            p_width=p_width,
            sum_width=numerics.partial_width,
        )
        weights = weight_tap(
            size=size, block_rows=block, row_width=row_width, slots=slots, p_width=p_width
        )
        scores = score_tap(size=size, row_width=row_width, score_width=lane.score_width)
        recip = reciprocal_layout(row_layout(block_rows=block, slots=slots))
        super().__init__(
            {
                "weights": In(stream.Signature(weights, always_ready=True)),
                "scores": In(stream.Signature(scores, always_ready=True)),
                "reciprocals": In(stream.Signature(recip, always_ready=True)),
                "may_start": Out(1, init=1),
                "step": In(1),
                "last_step": In(1),
                "o": Out(stream.Signature(masses)),
            }
        )

    @property
    def numerics(self) -> IndexNumerics:
        """Widths and tables."""
        return self._numerics

    def elaborate(self, platform: object) -> Module:
        """Fill the table; read it when a head is complete."""
        m = Module()
        numerics, block = self._numerics, self._numerics.block
        m.submodules.partials = partials = RowPartials(**self._partials)
        m.submodules.score_sums = score_sums = ScoreSums(
            size=numerics.lane.size,
            block=block,
            row_width=self._partials["row_width"],
            score_width=numerics.lane.score_width,
            sum_width=numerics.score_sum_width,
        )
        m.submodules.table = table = PartialTable(
            rows=_ROWS,
            block=block,
            blocks=numerics.blocks,
            slots=self._partials["slots"],
            sum_width=numerics.partial_width,
            score_sum_width=numerics.score_sum_width,
            memory=self._memory,
        )
        m.submodules.weigher = weigher = Weigher(
            rows=_ROWS,
            partial_width=numerics.partial_width,
            fraction=numerics.mass_fraction,
            mass_width=numerics.mass_width,
        )
        m.submodules.diagonals = diagonals = Diagonals(width=numerics.mass_width)
        m.submodules.mean = mean = Mean(
            sum_width=numerics.score_sum_width,
            count_width=2 * block.bit_length() - 1,
            fraction=numerics.mean_fraction,
            mean_width=numerics.mean_width,
        )
        connect_stream(m, wiring.flipped(self.weights), partials.i)
        connect_stream(m, wiring.flipped(self.scores), score_sums.i)
        connect_stream(m, wiring.flipped(self.reciprocals), table.reciprocals)
        connect_stream(m, partials.o, table.partials)
        connect_stream(m, score_sums.o, table.sums)

        # A block begins when its results will have a place, and its mean a divider.
        goes, starts, reads, ends = Signal(), Signal(), Signal(), Signal()
        ahead = Signal(range(_AHEAD + 1), init=_AHEAD)
        places = count_level(m, ahead, most=_AHEAD, comes=goes, goes=starts, name="ahead_")
        divides = Signal()
        number, group = Signal.like(table.block), Signal.like(table.group)
        is_last_group = Signal()
        is_last_block = Signal(reset_less=True)
        row_bits = ceil_log2(_ROWS)
        m.d.comb += [
            table.block.eq(number),
            table.group.eq(group),
            is_last_group.eq(group == table.last_row >> row_bits),
        ]
        m.d.sync += is_last_block.eq(number == table.last_block)
        with m.FSM():
            with m.State("fill"):
                m.d.sync += number.eq(0)
                with m.If(table.complete):
                    m.next = "block"
            with m.State("block"), m.If(places.has_some & ~divides):
                m.d.comb += starts.eq(1)
                m.next = "rows"
            with m.State("rows"):
                m.d.comb += reads.eq(1)
                m.d.sync += group.eq(Mux(is_last_group, 0, group + 1))
                with m.If(is_last_group):
                    m.d.sync += number.eq(number + 1)
                    m.next = "block"
                    with m.If(is_last_block):
                        m.next = "drain"
            with m.State("drain"), m.If(goes & self.o.payload.last):
                m.d.comb += ends.eq(1)
                m.next = "fill"
        with m.If(self.step & self.last_step):
            m.d.sync += self.may_start.eq(0)
        with m.Elif(ends):
            m.d.sync += self.may_start.eq(1)

        # Rows come a cycle after their address.
        rows = weigher.i.payload
        of_last = Signal(_ROWS, reset_less=True)
        everyone = (1 << _ROWS) - 1
        is_first_group = Signal(init=1)
        with m.If(reads):
            m.d.sync += is_first_group.eq(is_last_group)
        m.d.sync += [
            of_last.eq(((2 << table.last_row[:row_bits]) - 1)[:_ROWS]),
            weigher.i.valid.eq(reads),
            rows.present.eq(Mux(is_last_group, of_last, everyone)),
            rows.first.eq(is_first_group),
            rows.last.eq(is_last_group),
        ]
        m.d.comb += [
            rows.partials.eq(table.word.partials),
            rows.states.eq(table.word.states),
        ]

        # So does the block's sum; its count of scores takes a product.
        arrives = Signal(2 + Product.latency)
        n_rows = Signal(range(block + 1), reset_less=True)
        total = Signal.like(mean.i.payload["sum"], reset_less=True)
        n_keys = Signal.like(table.block_sum["keys"], reset_less=True)
        side = Integer(len(n_keys), is_signed=False)
        m.submodules.count = count = Product(a=side, b=side)
        m.d.sync += [arrives.eq(Cat(starts, arrives)), n_rows.eq(table.last_row + 1)]
        m.d.comb += [count.i_a.eq(n_keys), count.i_b.eq(n_rows)]
        with m.If(arrives[0]):
            m.d.sync += [total.eq(table.block_sum["sum"]), n_keys.eq(table.block_sum["keys"])]
        with m.If(arrives[-1]):
            m.d.sync += mean.i.valid.eq(1)
        with m.Elif(mean.i.ready):
            m.d.sync += mean.i.valid.eq(0)
        with m.If(starts):
            m.d.sync += divides.eq(1)
        with m.Elif(mean.i.valid & mean.i.ready):
            m.d.sync += divides.eq(0)
        m.d.comb += [mean.i.payload["sum"].eq(total), mean.i.payload.count.eq(count.o)]

        # Both halves of a result meet.
        parts, weighed = diagonals.i.payload, weigher.o.payload
        is_first_block = Signal(init=1)
        m.submodules.done = done = Queue(shape=diagonals.o.payload.shape(), depth=_AHEAD)
        m.submodules.means = means = Queue(shape=mean.o.payload.shape(), depth=_AHEAD)
        left = Signal.like(number)
        m.d.comb += [
            diagonals.i.valid.eq(weigher.o.valid),
            parts.first.eq(is_first_block),
            done.i.valid.eq(diagonals.o.valid),
            done.i.payload.eq(diagonals.o.payload),
        ]
        for name in ("all", "above", "below"):
            m.d.comb += parts[name].eq(weighed[name])
        with m.If(weigher.o.valid):
            m.d.sync += is_first_block.eq(0)
        with m.If(ends):
            m.d.sync += is_first_block.eq(1)
        connect_stream(m, mean.o, means.i)
        is_last = Signal()
        m.d.comb += [
            is_last.eq(left == table.last_block),
            goes.eq(self.o.valid & self.o.ready),
            self.o.valid.eq(done.o.valid & means.o.valid),
            self.o.payload.vertical.eq(done.o.payload.vertical),
            self.o.payload.slash.eq(done.o.payload.slash),
            self.o.payload.mean.eq(means.o.payload),
            self.o.payload.last.eq(is_last),
            done.o.ready.eq(goes),
            means.o.ready.eq(goes),
        ]
        with m.If(goes):
            m.d.sync += left.eq(Mux(is_last, 0, left + 1))
        return m
