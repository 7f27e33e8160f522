"""The cache of a kernel: what is to come of KV blocks, where they are kept, and who gets them."""

from typing import Any, ClassVar

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..cache.cache import BlockCache
from ..cache.outlook import Outlook
from ..cache.visit import EVENTS, THRESHOLD_BITS
from ..component import Component, pass_over
from ..sequencer.call import n_blocks
from ..sequencer.visit import told_layout
from ..stream import connect_stream

__all__ = ["CacheUnit"]


class CacheUnit(Component):
    """Serve the visits of a call from a cache of KV blocks that is told of all uses before.

    ::

        uses ----> outlook --> visits --> cache --+--> requests
        visits -----^                      ^  ^   +--> o_key, o_value
                             i_key, i_value   cached

    Parameters
    ----------
    policy, hot, cold, lookahead, windows, split, hot_memory, cold_memory
        As of :class:`~qkloom.rtl.cache.cache.BlockCache`.
    threshold : int
        Share of a call's query blocks, in units of ``2**-THRESHOLD_BITS``
        (:mod:`~qkloom.rtl.cache.visit`): a KV block with more jobs left than that is hot.
    per_lane : int
        Query blocks of a lane in a window.
    n_lanes, size, block, head_dim, element_width
        As of the cache.
    heads, tokens : int
        Most heads of a call, longest sequence.

    Members
    -------
    d_tiles, kv_heads, q_blocks : In
        Of the call: chunks of a token, KV heads, query blocks of a head.
    uses : In(stream)
        :func:`~qkloom.rtl.sequencer.visit.use_of_window`: of each KV head all uses, ahead.
    visits : In(stream)
        :func:`~qkloom.rtl.sequencer.visit.told_layout`: the same in their turn.
    forget : In(1)
        The call is done with.
    served : Out(1)
        All visits of its KV heads have been served.
    cached, requests, i_key, i_value, o_key, o_value, events
        As of the cache: ``cached`` are its tiles.
    changed : Out(1)
        The visits were not what was announced; until the next reset. Who attends has what memory
        held, but blocks may be kept that nobody needs, and would be found by a later call.
    moves : Out(1)
        Something was told or served, in the cycle before.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        policy: str,
        hot: int,
        cold: int,
        lookahead: int,
        threshold: int,
        windows: int,
        split: bool = False,
        hot_memory: str = "auto",
        cold_memory: str = "auto",
        per_lane: int,
        n_lanes: int,
        size: int,
        block: int,
        head_dim: int,
        element_width: int,
        heads: int,
        tokens: int,
    ) -> None:
        self._threshold, self._heads = threshold, heads
        blocks = n_blocks(heads=1, tokens=tokens, block=block)
        most = n_blocks(heads=heads, tokens=tokens, block=block)
        places = n_lanes * per_lane
        self._outlook = dict(
            blocks=blocks, heads=heads, windows=windows, jobs=places, uses=heads * blocks
        )
        self._cache: dict[str, Any] = dict(
            policy=policy,
            hot=hot,
            cold=cold,
            blocks=blocks,
            heads=heads,
            windows=windows,
            lookahead=lookahead,
            split=split,
            hot_memory=hot_memory,
            cold_memory=cold_memory,
            most=most,
            n_lanes=n_lanes,
            size=size,
            block=block,
            head_dim=head_dim,
            element_width=element_width,
        )
        pass_over(cache := BlockCache(**self._cache))
        theirs = cache.signature.members
        told = told_layout(places=places, heads=heads, tokens=tokens, block=block)
        names = ("d_tiles", "requests", "i_key", "i_value", "o_key", "o_value")
        super().__init__(
            {
                **{name: theirs[name] for name in names},
                "kv_heads": In(range(heads + 1)),
                "q_blocks": In(range(blocks + 1)),
                "uses": In(stream.Signature(told["use"].shape)),
                "visits": In(stream.Signature(told)),
                "forget": In(1),
                "served": Out(1),
                "cached": theirs["tiles"],
                "events": Out(EVENTS),
                "changed": Out(1),
                "moves": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; count KV heads to know when no visit comes any more."""
        m = Module()
        m.submodules.outlook = outlook = Outlook(**self._outlook)
        m.submodules.cache = cache = BlockCache(**self._cache)
        connect_stream(m, wiring.flipped(self.uses), outlook.i)
        m.d.comb += [
            outlook.visits.payload.eq(self.visits.payload.use),
            outlook.visits.valid.eq(self.visits.valid),
            self.visits.ready.eq(outlook.visits.ready),
        ]
        share = Signal(len(outlook.threshold) + THRESHOLD_BITS + 1)
        m.d.sync += [
            share.eq(self.q_blocks * self._threshold),
            outlook.threshold.eq(share >> THRESHOLD_BITS),
        ]
        # A visit stays where it comes from until it has been told of: so its place is there, too.
        wanted = cache.visits.payload
        m.d.comb += [
            wanted.visit.eq(outlook.o.payload),
            wanted.index.eq(self.visits.payload.index),
            wanted.tokens.eq(self.visits.payload.tokens),
            cache.visits.valid.eq(outlook.o.valid),
            outlook.o.ready.eq(cache.visits.ready),
            cache.d_tiles.eq(self.d_tiles),
            self.events.eq(cache.events),
            self.changed.eq(outlook.wrong.any()),
        ]
        for source, sink in (
            (wiring.flipped(self.cached), cache.tiles),
            (cache.requests, wiring.flipped(self.requests)),
            (wiring.flipped(self.i_key), cache.i_key),
            (wiring.flipped(self.i_value), cache.i_value),
            (cache.o_key, wiring.flipped(self.o_key)),
            (cache.o_value, wiring.flipped(self.o_value)),
        ):
            connect_stream(m, source, sink)

        n_heads = Signal(range(self._heads + 1))
        is_told = Signal()
        use = self.visits.payload.use
        with m.If(self.forget):
            m.d.sync += n_heads.eq(0)
        with m.Elif(self.visits.valid & self.visits.ready & use.last):
            m.d.sync += n_heads.eq(n_heads + 1)
        m.d.comb += [
            is_told.eq(n_heads == self.kv_heads),
            cache.ends.eq(is_told),
            self.served.eq(is_told & cache.idle),
        ]
        m.d.sync += self.moves.eq(
            (self.uses.valid & self.uses.ready)
            | (self.visits.valid & self.visits.ready)
            | (self.cached.valid & self.cached.ready)
        )
        return m
