"""The coverage unit: from what a head's last queries attend to, to the KV blocks that it needs."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..lane.numerics import Numerics
from ..stream import Queue, RegisterSlice, connect_stream
from .block_pool import BlockPool
from .head import HeadSelector, verdict_layout
from .key_store import KeyStore
from .list import list_layout
from .lists import SelectionLists
from .mask import SelectionMask
from .masses import mass_layout
from .numerics import IndexNumerics
from .pairs import PairSource
from .rule import ask_layout, rule_layout
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
        i_key ---> key store -----------+
        i_query -> block pool -> queue -+

    A call is heads of as many tokens, in *rounds*: heads whose keys come at the same time. Keys of
    a round's KV heads come tile by tile, and their means are kept until the last head of the round
    is done with them; meanwhile come those of the next round. Of each head come the masses, from
    lanes that scored its last queries (:class:`~qkloom.rtl.index.masses.BlockMasses`), and its
    queries, which are averaged too, if it is query-aware. Queries of some heads come ahead, before
    that is known, so that nobody has to wait for them, and are dropped if they are not wanted.
    Then follow masks and lists of its query blocks.

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
    heads : int
        Most heads of a call.
    key_heads : int
        Most KV heads of a round.
    heads_ahead : int
        Heads whose averaged queries may wait for their verdict.
    dot_width : int
        Elements of averages that are multiplied a cycle: with ``head_dim``, a pair a cycle.
    memory : str
        What means of keys are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``,
        UltraRAM.
    lists : bool
        Whether lists are told too.

    Members
    -------
    call : In(stream)
        What holds for all heads that follow: how many ``heads``, 1 at least, of how many
        ``tokens``; :func:`~qkloom.rtl.index.rule.rule_layout`. Taken when all heads of the call
        before have been selected; the last words of their masks may still wait, in order.
    ask : In(stream)
        Of each head ``mantissa``, ``shift``: its score factor; ``key_head``: number of its KV head
        in the round; ``ahead``: its queries come in any case; ``ends``: it is the last head of its
        round. A call's last head is, too. Each KV head of a round has a head.
    i_mass : In(stream)
        :func:`~qkloom.rtl.index.masses.mass_layout`, head after head.
    i_key : In(stream)
        Of each round tile 0 of KV head 0, of KV head 1, ..., tile 1 of KV head 0, ...:
        :func:`~qkloom.rtl.index.tile_pool.tile_row_layout`, token-major, ``size`` tokens a tile;
        what is beyond the tokens does not count. Taken during a call, two rounds ahead of heads at
        most; so whoever sends keys of the next call does so when that has been taken.
    i_query : In(stream)
        Chunks of ``size`` elements, token-major, ``last`` on a token's last one; in whole tiles.
        Of heads that are asked for as ``ahead``, and of others that are query-aware. As with keys,
        those of the next call come when that has been taken.
    o_verdict : Out(stream)
        :func:`~qkloom.rtl.index.head.verdict_layout`.
    masks : Out(stream)
        Rows of words, as sparse calls read them:
        :class:`~qkloom.rtl.index.lists.SelectionLists`.
    lists : Out(stream)
        The same as lists, with ``lists``; masks are not much ahead of them then.
    o_result : Out(stream)
        Of columns, diagonals and pairs, how many are taken, and what they have.
    busy : Out(1)
        Pairs are being told: nothing may come or go for a long time.

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
        heads: int,
        key_heads: int,
        dot_width: int,
        stream_width: int = 8,
        stationary_width: int = 8,
        heads_ahead: int = 0,
        memory: str = "auto",
        lists: bool = True,
    ) -> None:
        check_count("Tokens", tokens)
        check_count("Heads", heads)
        if heads_ahead:
            check_count("Heads ahead", heads_ahead)
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
        self._has_lists = lists
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
        self._keys: dict[str, Any] = self._pool | dict(
            dot_width=dot_width, key_heads=key_heads, memory=memory
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
        chunks = blocks * head_dim // size  # of a head
        self._waiting: dict[str, Any] = dict(depth=max(heads_ahead * chunks, 2), registered=True)
        pass_over(keys := KeyStore(**self._keys))
        pass_over(head := HeadSelector(**self._head))
        rule = rule_layout(blocks).members
        call = data.StructLayout({"heads": range(heads + 1), "tokens": range(tokens + 1), **rule})
        super().__init__(
            {
                "call": In(stream.Signature(call)),
                "ask": In(stream.Signature(ask_layout(key_heads))),
                "i_mass": In(stream.Signature(mass_layout(numbers))),
                "i_key": In(stream.Signature(keys.i.payload.shape())),
                "i_query": In(stream.Signature(pool.i.payload.shape())),
                "o_verdict": Out(stream.Signature(verdict_layout(blocks))),
                "masks": Out(stream.Signature(word_layout(32))),
                **({"lists": Out(stream.Signature(list_layout(blocks)))} if lists else {}),
                "o_result": Out(stream.Signature(head.o_result.payload.shape())),
                "busy": Out(1),
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
        m.submodules.keys = keys = KeyStore(**self._keys)
        m.submodules.query_pool = query_pool = BlockPool(**self._pool)
        lists = self._add_lists(m)
        connect_stream(m, wiring.flipped(self.i_mass), head.i_mass)
        connect_stream(m, wiring.flipped(self.i_query), query_pool.i)
        connect_stream(m, pairs.o, head.i_pair)
        connect_stream(m, head.o, lists.i)
        in_call = Signal()
        m.d.comb += [
            keys.i.payload.eq(self.i_key.payload),
            keys.i.valid.eq(self.i_key.valid & in_call),
            self.i_key.ready.eq(keys.i.ready & in_call),
        ]

        # What is asked for, and of whose keys.
        call = Signal(self.call.payload.shape(), reset_less=True)
        ask = Signal(self.ask.payload.shape(), reset_less=True)
        left = Signal.like(self.call.payload.heads, reset_less=True)  # heads to be asked for
        verdict = Signal(head.o_verdict.payload.shape(), reset_less=True)
        key_head = Signal.like(ask.key_head, reset_less=True)  # whose pairs are told
        highest = Signal.like(ask.key_head)  # KV head of the round
        is_complete = Signal()
        all_complete = Signal()
        m.d.sync += [
            is_complete.eq(keys.complete.bit_select(ask.key_head, 1)),
            all_complete.eq(keys.complete.bit_select(highest, 1)),
        ]

        # A head's queries are averaged as soon as they come, and wait.
        m.submodules.queries = queries = Queue(shape=query_pool.o.payload.shape(), **self._waiting)
        connect_stream(m, query_pool.o, queries.i)
        m.d.comb += query_pool.call.valid.eq(self.i_query.valid & in_call)

        # What each part is told: a bit for who has not heard it yet. The last one is nobody: means
        # of queries that are there, and not wanted, are taken from the queue.
        tells = Signal(4)
        told = Signal(4)
        drops = Signal()
        m.d.comb += [
            drops.eq(tells[3]),
            told[3].eq(queries.o.valid & queries.o.payload.done),
            pairs.queries.payload.eq(queries.o.payload),
            pairs.queries.valid.eq(queries.o.valid & ~drops),
            queries.o.ready.eq(pairs.queries.ready | drops),
        ]
        # Behind a call's last result no query comes that belongs to it. Pairs take longer than what
        # a last tile has beyond the tokens.
        is_quiet = Signal()
        is_last = Signal()  # head of its call, since it was judged
        result, given = self.o_result, head.o_result
        m.d.comb += [
            is_quiet.eq((tells == 0) & (query_pool.call.ready | ~is_last | verdict.is_aware)),
            result.payload.eq(given.payload),
            result.valid.eq(given.valid & is_quiet),
            given.ready.eq(result.ready & is_quiet),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.call.ready.eq(1)
                m.d.sync += [call.eq(self.call.payload), left.eq(self.call.payload.heads)]
                with m.If(self.call.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += keys.call.valid.eq(1)
                with m.If(keys.call.ready):
                    m.d.sync += in_call.eq(1)
                    m.next = "next"
            with m.State("next"):
                m.d.comb += self.ask.ready.eq(1)
                m.d.sync += ask.eq(self.ask.payload)
                with m.If(self.ask.valid):
                    m.d.sync += left.eq(left - 1)
                    with m.If(self.ask.payload.key_head > highest):
                        m.d.sync += highest.eq(self.ask.payload.key_head)
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += head.ask.valid.eq(1)
                with m.If(head.ask.ready):
                    m.next = "judge"
            with m.State("judge"):
                m.d.comb += head.o_verdict.ready.eq(1)
                m.d.sync += [verdict.eq(head.o_verdict.payload), is_last.eq(left == 0)]
                with m.If(head.o_verdict.valid):
                    is_aware = head.o_verdict.payload.is_aware
                    m.d.sync += tells.eq(Cat(1, 1, is_aware, ask.ahead & ~is_aware))
                    m.next = "tell"
            with m.State("tell"):
                m.d.sync += tells.eq(tells & ~told)
                with m.If(tells == 0):
                    m.next = "next"
                    with m.If(ask.ends | (left == 0)):
                        m.next = "release"
                for bit, part in enumerate((self.o_verdict, lists.call)):
                    m.d.comb += [part.valid.eq(tells[bit]), told[bit].eq(part.ready)]
                # Pairs need the keys, and while they are told these stay.
                m.d.comb += [
                    pairs.call.valid.eq(tells[2] & is_complete),
                    told[2].eq(pairs.call.ready & is_complete),
                ]
            with m.State("release"), m.If(pairs.call.ready & all_complete):
                m.d.comb += keys.releases.eq(1)
                m.d.sync += highest.eq(0)
                m.next = "next"
                with m.If(left == 0):
                    m.next = "end"
            # All kinds have been selected, and the last row of masks is on its way.
            with m.State("end"), m.If(head.ask.ready & lists.call.ready):
                m.d.sync += in_call.eq(0)
                m.next = "idle"
        with m.If(pairs.call.valid & pairs.call.ready):
            m.d.sync += key_head.eq(ask.key_head)
        for name, _ in head.ask.payload.shape():
            source = ask if name in ask.shape().members else call
            m.d.comb += head.ask.payload[name].eq(source[name])
        m.d.comb += [
            self.busy.eq(pairs.busy),
            self.o_verdict.payload.eq(verdict),
            lists.call.payload.n.eq(verdict.blocks),
            lists.call.payload.pairs.eq(verdict.is_aware),
            keys.call.payload.tokens.eq(call.tokens),
            keys.key_head.eq(key_head),
            keys.vector.eq(pairs.key_vector),
            pairs.key.eq(keys.o),
            query_pool.call.payload.tokens.eq(call.tokens),
            query_pool.call.payload.filled.eq(1),
            pairs.call.payload.queries.eq(1),
            pairs.call.payload.plays.eq(1),
            pairs.call.payload.mantissa.eq(ask.mantissa),
            pairs.call.payload["shift"].eq(ask["shift"]),
        ]
        if "key_beat" in pairs.signature.members:
            m.d.comb += keys.beat.eq(pairs.key_beat)
        return m

    def _add_lists(self, m: Module) -> SelectionLists | SelectionMask:
        """Tell what is selected as masks, and as lists if somebody takes them."""
        blocks = self._numerics.blocks
        if self._has_lists:
            m.submodules.lists = lists = SelectionLists(blocks=blocks)
            connect_stream(m, lists.masks, wiring.flipped(self.masks))
            connect_stream(m, lists.lists, wiring.flipped(self.lists))
            return lists
        m.submodules.mask = mask = SelectionMask(blocks=blocks)
        m.submodules.word = word = RegisterSlice(shape=mask.o.payload.shape())
        connect_stream(m, mask.o, word.i)
        connect_stream(m, word.o, wiring.flipped(self.masks))
        return mask
