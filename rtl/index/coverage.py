"""The coverage unit: from what a head's last queries attend to, to the KV blocks that it needs."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..lane.numerics import Numerics
from ..stream import connect_stream
from .block_pool import BlockPool
from .head import HeadSelector, ask_layout, verdict_layout
from .list import list_layout
from .lists import SelectionLists
from .masses import mass_layout
from .numerics import IndexNumerics
from .pairs import PairSource
from .scan import word_layout

__all__ = ["CoverageUnit"]


class CoverageUnit(Component):
    """Select the KV blocks of each query block of a head, as FlexPrefill does, by blocks.

    ::

        i_mass --> head selector --> columns, diagonals, pairs --> masks, lists
                       ^    |
                       |    +--> o_verdict: is the head query-aware?
                     pairs
                       ^
        i_key ---> block pool --+
        i_query -> block pool --+

    A head is asked for, then come its masses, from lanes that scored its last queries
    (:class:`~qkloom.rtl.index.masses.BlockMasses`). The first head of a KV head says so: the keys
    pass by, and their means are kept for all of its group. A head whose verdict is that it is
    query-aware gets its queries, which are averaged too; of other heads they are not wanted. Then
    follow masks and lists of its query blocks.

    Parameters
    ----------
    size, head_dim, p_width, segments, fraction, stream_width, stationary_width
        As of a lane.
    lane_tokens : int
        Longest sequence of the lanes.
    block : int
        Tokens of a block, a power of two, up to 128.
    tokens : int
        Longest sequence that is selected from.
    dot_width : int
        Elements of averages that are multiplied a cycle: with ``head_dim``, a pair a cycle.

    Members
    -------
    ask : In(stream)
        :func:`~qkloom.rtl.index.head.ask_layout` of a head, and ``tokens``, ``new_keys``: keys
        follow. One head after the other.
    i_mass : In(stream)
        :func:`~qkloom.rtl.index.masses.mass_layout`.
    i_key, i_query : In(stream)
        Chunks of ``size`` elements, token-major, ``last`` on a token's last one; in whole tiles of
        ``size`` tokens: what is beyond the head's does not count.
    o_verdict : Out(stream)
        :func:`~qkloom.rtl.index.head.verdict_layout`.
    masks : Out(stream)
        Rows of words, as sparse calls read them:
        :class:`~qkloom.rtl.index.lists.SelectionLists`.
    lists : Out(stream)
        The same as lists.
    o_result : Out(stream)
        Of columns, diagonals and pairs, how many are taken, and what they have.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    def __init__(
        self,
        *,
        size: int,
        head_dim: int,
        block: int,
        tokens: int,
        lane_tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        dot_width: int,
        stream_width: int = 8,
        stationary_width: int = 8,
    ) -> None:
        check_count("Tokens", tokens)
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
        self._numerics = numbers = IndexNumerics(lane=lane, block=block, tokens=tokens)
        blocks = numbers.blocks
        width = max(stream_width, stationary_width)
        self._pool: dict[str, Any] = dict(
            size=size,
            head_dim=head_dim,
            block=block,
            tokens=tokens,
            width=width,
            fraction=numbers.pool_fraction,
        )
        self._pairs: dict[str, Any] = dict(
            size=size,
            dot_width=dot_width,
            head_dim=head_dim,
            blocks=blocks,
            fraction=fraction,
            width=width,
            pool_fraction=numbers.pool_fraction,
        )
        self._head: dict[str, Any] = dict(
            blocks=blocks,
            mass_width=numbers.mass_width,
            mean_width=numbers.mean_width,
            mean_fraction=numbers.mean_fraction,
            fraction=fraction,
        )
        pass_over(pool := BlockPool(**self._pool))
        pass_over(head := HeadSelector(**self._head))
        ask = data.StructLayout(
            {
                **{name: field.shape for name, field in ask_layout(blocks)},
                "tokens": range(tokens + 1),
                "new_keys": 1,
            }
        )
        rows = stream.Signature(pool.i.payload.shape())
        super().__init__(
            {
                "ask": In(stream.Signature(ask)),
                "i_mass": In(stream.Signature(mass_layout(numbers))),
                "i_key": In(rows),
                "i_query": In(rows),
                "o_verdict": Out(stream.Signature(verdict_layout(blocks))),
                "masks": Out(stream.Signature(word_layout(32))),
                "lists": Out(stream.Signature(list_layout(blocks))),
                "o_result": Out(stream.Signature(head.o_result.payload.shape())),
            }
        )

    @property
    def numerics(self) -> IndexNumerics:
        """Widths and tables."""
        return self._numerics

    def elaborate(self, platform: object) -> Module:
        """Tell each part when it is its turn."""
        m = Module()
        m.submodules.head = head = HeadSelector(**self._head)
        m.submodules.pairs = pairs = PairSource(**self._pairs)
        m.submodules.key_pool = key_pool = BlockPool(**self._pool)
        m.submodules.query_pool = query_pool = BlockPool(**self._pool)
        m.submodules.lists = lists = SelectionLists(blocks=self._numerics.blocks)
        connect_stream(m, wiring.flipped(self.i_mass), head.i_mass)
        connect_stream(m, wiring.flipped(self.i_key), key_pool.i)
        connect_stream(m, wiring.flipped(self.i_query), query_pool.i)
        connect_stream(m, key_pool.o, pairs.keys)
        connect_stream(m, query_pool.o, pairs.queries)
        connect_stream(m, pairs.o, head.i_pair)
        connect_stream(m, head.o, lists.i)
        connect_stream(m, lists.masks, wiring.flipped(self.masks))
        connect_stream(m, lists.lists, wiring.flipped(self.lists))
        connect_stream(m, head.o_result, wiring.flipped(self.o_result))

        # What each part is told: a bit for who has not heard it yet.
        ask = self.ask.payload
        asked = Signal(ask.shape(), reset_less=True)
        loads = Signal()  # keys
        verdict = Signal(head.o_verdict.payload.shape(), reset_less=True)
        tells = Signal(4)
        told = Signal(4)
        parts = (head.ask, key_pool.call, pairs.call)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.ask.ready.eq(1)
                m.d.sync += [asked.eq(ask), loads.eq(ask.new_keys)]
                with m.If(self.ask.valid):
                    m.d.sync += tells.eq(1 | ask.new_keys.replicate(3) & 0b110)
                    m.next = "ask"
            with m.State("ask"):
                m.d.sync += tells.eq(tells & ~told)
                with m.If(tells == 0):
                    m.next = "judge"
                for bit, part in enumerate(parts):
                    m.d.comb += [part.valid.eq(tells[bit]), told[bit].eq(part.ready)]
            with m.State("judge"):
                m.d.comb += head.o_verdict.ready.eq(1)
                m.d.sync += [verdict.eq(head.o_verdict.payload), loads.eq(0)]
                with m.If(head.o_verdict.valid):
                    m.d.sync += tells.eq(
                        0b0011 | head.o_verdict.payload.is_aware.replicate(4) & 0b1100
                    )
                    m.next = "tell"
            with m.State("tell"):
                m.d.sync += tells.eq(tells & ~told)
                with m.If(tells == 0):
                    m.next = "idle"
                for bit, part in enumerate(
                    (self.o_verdict, lists.call, query_pool.call, pairs.call)
                ):
                    m.d.comb += [part.valid.eq(tells[bit]), told[bit].eq(part.ready)]
        for name, _ in head.ask.payload.shape():
            m.d.comb += head.ask.payload[name].eq(asked[name])
        m.d.comb += [
            self.o_verdict.payload.eq(verdict),
            lists.call.payload.n.eq(verdict.blocks),
            lists.call.payload.pairs.eq(verdict.is_aware),
            key_pool.call.payload.tokens.eq(asked.tokens),
            key_pool.call.payload.filled.eq(1),
            query_pool.call.payload.tokens.eq(asked.tokens),
            query_pool.call.payload.filled.eq(1),
            pairs.call.payload["keys"].eq(loads),
            pairs.call.payload.queries.eq(~loads),
            pairs.call.payload.plays.eq(~loads),
            pairs.call.payload.mantissa.eq(asked.mantissa),
            pairs.call.payload["shift"].eq(asked["shift"]),
        ]
        return m
