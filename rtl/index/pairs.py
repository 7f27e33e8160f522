"""Pairs of a query block and a KV block, and the attention that averages foretell."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..formats import Integer, ceil_log2
from ..lane.job import index
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed
from ..lane.scale import Scale
from ..stream import Queue, connect_stream
from ..stream.level import count_level
from .code import code_width
from .dot import beats_of, vector_layout
from .dot_pipe import DotPipeline
from .numerics import pair_score_fraction
from .pair_order import PairOrder
from .pair_share import PairShare
from .row_sums import RowSums
from .vectors import VectorMemory

__all__ = ["PairSource"]


class PairSource(Component):
    """Tell the share of every causal pair in its query block's attention, several times over.

    ::

        queries --> memory --+
                             v
        keys, a beat a cycle (*)-> dot product --> scale --+--> sums of rows
                     ^                                     |         |
        call --> order of pairs                            +---------+--> share --> queue --> o

    A first sweep over the pairs finds each query block's largest score and the sum of its powers;
    ``passes`` sweeps then give the codes of all shares, query blocks ascending, and of each the KV
    blocks from 0 to its own. Nothing in the pipeline can stall: a pair enters while there is room
    for its code.

    Of ``n`` query blocks, a sweep takes ``n * (n + 1) / 2`` steps of ``beats`` cycles, and a cycle,
    if ``o`` is taken. From call to call it is ``passes + 1`` of them, ``n + overhead`` cycles, and
    one for each chunk of what is loaded.

    Parameters
    ----------
    size : int
        Elements of a chunk.
    dot_width : int
        Elements that are multiplied a cycle, a DSP slice each; a multiple of ``size``. A vector of
        more takes several beats.
    head_dim : int
        Most elements of a vector, a multiple of ``dot_width``.
    blocks : int
        Most query blocks, and most KV blocks.
    fraction : int
        Fraction bits of a base-2 score.
    passes : int
        How often the codes are told.
    width, pool_fraction : int
        Bits of what was pooled, and what means have more.
    exp_fraction, value_width, code_fraction : int
        As of :class:`~qkloom.rtl.index.pair_share.PairShare`.

    Members
    -------
    call : In(stream)
        ``queries``: new ones are loaded first; else those from before are there still. ``plays``:
        pairs are told. ``mantissa``, ``shift``: of scores of what was pooled, see
        :class:`~qkloom.rtl.lane.scale.Scale`. Calls are answered one after the other: the next one
        is taken when the last pair of the one before has been read.
    queries : In(stream)
        Chunks as :class:`~qkloom.rtl.index.block_pool.BlockPool` gives them.
    key_vector, key_beat : Out
        Which beat of keys is needed; ``key_beat`` if there may be several.
    key : In
        It, a cycle later, as of :class:`~qkloom.rtl.index.vectors.VectorMemory`. There are at least
        as many keys as queries, with the same head_dim, and they stay as long as a call plays.
    o : Out(stream)
        Candidates for :class:`~qkloom.rtl.index.selector.CoverageSelector`: ``code``; ``always``
        is 0; ``last`` of a sweep.
    busy : Out(1)
        Pairs are being told, as long as someone takes them.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, out of range, or no multiple of what it must be.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        dot_width: int,
        head_dim: int,
        blocks: int,
        fraction: int,
        passes: int = 3,
        width: int = 8,
        pool_fraction: int = 4,
        exp_fraction: int = 28,
        value_width: int = 32,
        code_fraction: int = 11,
    ) -> None:
        check_count("Size", size)
        self._beats = beats_of(width=dot_width, head_dim=head_dim)
        if dot_width % size:
            raise ValueError(f"Dot width must be a multiple of the size, {size}, not {dot_width}")
        self._passes = check_count("Number of passes", passes)
        check_count("Width", width, most=8)
        check_count("Pool fraction", pool_fraction, most=8)
        self._blocks = check_count("Number of blocks", blocks)
        element = Integer(width + pool_fraction)
        self._vectors: dict[str, Any] = {
            "size": size,
            "width": dot_width,
            "head_dim": head_dim,
            "vectors": blocks,
            "element": element,
        }
        self._score_fraction = pair_score_fraction(
            width=width, pool_fraction=pool_fraction, head_dim=head_dim
        )
        self._drop = 2 * pool_fraction - self._score_fraction
        self._powers = {"blocks": blocks, "fraction": fraction, "exp_fraction": exp_fraction}
        self._share = {"value_width": value_width, "code_fraction": code_fraction}
        pass_over(PairShare(**self._powers, **self._share))
        self._tag = data.StructLayout(
            {"row": index(blocks), "row_last": 1, "end": 1, "surveys": 1, "is_last_sweep": 1}
        )
        self._dot: dict[str, Any] = {
            "width": dot_width,
            "beats": self._beats,
            "a": element,
            "b": element,
            "constant": 1 << self._drop >> 1,
            "tag": self._tag,
        }
        self._scale = {
            "row_width": 1,
            "score_width": 2 * element.width + ceil_log2(head_dim) - self._drop,
            "fraction": fraction,
        }
        chunk = vector_layout(element, size)
        call = data.StructLayout(
            {
                "queries": 1,
                "plays": 1,
                "mantissa": Numerics.mantissa_width,
                "shift": Numerics.shift_width,
            }
        )
        code = code_width(value_width, code_fraction)
        item = data.StructLayout({"code": code, "always": 1, "last": 1})
        members: dict[str, Any] = {
            "call": In(stream.Signature(call)),
            "queries": In(stream.Signature(chunk)),
            "key_vector": Out(index(blocks)),
            "key": In(data.ArrayLayout(element, dot_width)),
            "o": Out(stream.Signature(item)),
            "busy": Out(1),
        }
        if self._beats > 1:
            members["key_beat"] = Out(index(self._beats))
        super().__init__(members)

    @property
    def latency(self) -> int:
        """Cycles from a pair's last beat to its code."""
        pass_over(share := PairShare(**self._powers, **self._share))
        return self._to_row + 1 + share.latency + 2

    @property
    def overhead(self) -> int:
        """Cycles of a call beside loads and sweeps, and one for each query block."""
        pass_over(sums := RowSums(**self._powers))
        return 2 * self._to_row + sums.latency + 2

    @property
    def _to_row(self) -> int:
        """Cycles from a pair's last beat to its row."""
        pass_over(dot := DotPipeline(**self._dot))
        pass_over(scale := Scale(**self._scale))
        return 1 + dot.latency + scale.latency

    def elaborate(self, platform: object) -> Module:
        """Load; play a sweep for the rows, then the others."""
        m = Module()
        m.submodules.query_memory = queries = VectorMemory(**self._vectors)
        m.submodules.order = order = PairOrder(blocks=self._blocks, beats=self._beats)
        m.submodules.sums = sums = RowSums(**self._powers)
        m.submodules.share = share = PairShare(**self._powers, **self._share)
        connect_stream(m, wiring.flipped(self.queries), queries.i)
        step = order.o.payload

        # What a call asks for.
        call = self.call.payload
        takes = Signal()
        plays = Signal(reset_less=True)
        mantissa = Signal.like(call.mantissa, reset_less=True)
        asked_shift = Signal.like(call.shift, reset_less=True)
        shift = Signal.like(call.shift, reset_less=True)
        more = Signal(Numerics.shift_width + 1)
        most = (1 << Numerics.shift_width) - 1
        m.d.comb += [
            takes.eq(self.call.valid & self.call.ready),
            more.eq(asked_shift + self._score_fraction),
        ]
        m.d.sync += shift.eq(Mux(more > most, most, more[: Numerics.shift_width]))
        with m.If(takes):
            m.d.sync += [
                plays.eq(call.plays),
                mantissa.eq(call.mantissa),
                asked_shift.eq(call.shift),
            ]
        with m.If(takes):
            m.d.sync += queries.loads.eq(call.queries)
        with m.Elif(queries.done):
            m.d.sync += queries.loads.eq(0)

        # Sweeps: the first one is over when the last row's sum is there, a call when the last pair
        # has been scaled.
        left = Signal(range(self._passes + 1), reset_less=True)  # to be begun
        surveys = Signal(reset_less=True)
        is_over = Signal()
        m.d.comb += [
            order.i.payload.rows.eq(queries.vectors),
            order.i.payload.beats.eq(queries.beats),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("idle") & ~fsm.ongoing("load"))
            with m.State("idle"):
                m.d.comb += self.call.ready.eq(1)
                with m.If(self.call.valid):
                    m.next = "load"
            with m.State("load"), m.If(~queries.loads):
                m.d.sync += [surveys.eq(1), left.eq(self._passes)]
                m.next = "idle"
                with m.If(plays):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += order.i.valid.eq(1)
                m.next = "survey"  # nothing is played, so it is taken
            with m.State("survey"), m.If(sums.complete):
                m.d.sync += surveys.eq(0)
                m.next = "play"
            with m.State("play"):
                m.d.comb += order.i.valid.eq(left.any())
                with m.If(order.i.valid & order.i.ready):
                    m.d.sync += left.eq(left - 1)
                with m.If(is_over):
                    m.next = "idle"

        # A pair enters while there is room.
        m.submodules.dot = dot = DotPipeline(**self._dot)
        m.submodules.scale = scale = Scale(**self._scale)
        n_places = self.latency + 1
        n_codes = Signal(range(n_places + 1))
        enters = Signal()
        places = count_level(
            m,
            n_codes,
            most=n_places,
            comes=enters & step.last & ~surveys,
            goes=self.o.valid & self.o.ready,
            name="places_",
        )
        beat = dot.i.payload
        m.d.comb += [
            order.o.ready.eq(places.has_room),
            enters.eq(order.o.valid & places.has_room),
            self.key_vector.eq(step.column),
            queries.vector.eq(step.row),
            beat.a.eq(queries.o),
            beat.b.eq(self.key),
        ]
        if self._beats > 1:
            m.d.comb += [self.key_beat.eq(step.beat), queries.beat.eq(step.beat)]
        m.d.sync += [
            dot.i.valid.eq(enters),
            beat.first.eq(step.first),
            beat.last.eq(step.last),
            beat.tag.row.eq(step.row),
            beat.tag.row_last.eq(step.row_last),
            beat.tag.end.eq(step.end),
            beat.tag.surveys.eq(surveys),
            beat.tag.is_last_sweep.eq(~left.any()),
        ]

        # Scaled, a pair meets its row, or makes it.
        pair = Signal(self._tag)
        valids = Signal(scale.latency)
        is_valid = Signal()
        m.d.sync += valids.eq(Cat(dot.o.valid, valids))
        m.d.comb += [
            scale.i.scores[0].eq(dot.o.payload.sum[self._drop :].as_signed()),
            scale.i.mantissa.eq(mantissa),
            scale.i.shift.eq(shift),
            pair.eq(delayed(m, dot.o.payload.tag, scale.latency, name="tag")),
            is_valid.eq(valids[-1]),
            is_over.eq(is_valid & ~pair.surveys & pair.end & pair.is_last_sweep),
            sums.i.valid.eq(is_valid & pair.surveys),
            sums.i.payload.x.eq(scale.o[0]),
            sums.i.payload.last.eq(pair.row_last),
            sums.i.payload.end.eq(pair.end),
            sums.row.eq(pair.row),
        ]
        meets = share.i.payload
        m.d.sync += [
            share.i.valid.eq(is_valid & ~pair.surveys),
            meets.x.eq(scale.o[0]),
            meets.last.eq(pair.end),
        ]
        m.submodules.queue = queue = Queue(
            shape=self.o.payload.shape(), depth=n_places, registered=True
        )
        m.d.comb += [
            meets.maximum.eq(sums.maximum),
            meets.e.eq(sums.reciprocal.e),
            meets.r.eq(sums.reciprocal.r),
            queue.i.valid.eq(share.o.valid),
            queue.i.payload.code.eq(share.o.payload.code),
            queue.i.payload.last.eq(share.o.payload.last),
        ]
        connect_stream(m, queue.o, wiring.flipped(self.o))
        return m
