"""The cache of KV blocks: between who knows what is needed, memory, and the lanes."""

from functools import reduce
from operator import and_
from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..mover.frame import row_layout
from ..sequencer.call import request_layout
from ..stream import Fork, Queue, connect_stream
from .control import CacheControl
from .store import RowStore, fill_layout, serve_layout, tile_layout
from .visit import BYPASSES, visit_layout

__all__ = ["BlockCache", "wanted_layout"]


def wanted_layout(
    *, blocks: int, heads: int, windows: int, most: int, block: int
) -> data.StructLayout:
    """Return a visit with where its block is: number in the tensor, of ``most``, and tokens."""
    return data.StructLayout(
        {
            "visit": visit_layout(blocks=blocks, heads=heads, windows=windows),
            "index": range(max(most, 2)),
            "tokens": range(block + 1),  # 1 or more
        }
    )


class BlockCache(Component):
    """Keep block pairs, K and V of a KV block, and send each visit's tiles to the lanes.

    ::

        visits --> control --+--> fetch --> requests (to memory)
                      ^      +--> keys:   fills, visits --> store --> o_key
                      |      +--> values: fills, visits --> store --> o_value
                      +------------------ served -------------+

    Visits are granted up to ``lookahead`` of them ahead of use: blocks are asked for while others
    are served. Fetches, and what comes of them, are in the order of visits; a block that is kept
    nowhere passes through one of two buffers. ``tiles`` says, visit by visit, which lanes need
    which tile.

    Parameters
    ----------
    policy, hot, cold, blocks, heads, windows, lookahead
        As of :class:`~qkloom.rtl.cache.control.CacheControl`.
    split : bool
        Whether tiers are a memory each; else one for both.
    hot_memory, cold_memory : str
        What they are made of; one memory for both is as the cold tier's.
    most : int
        Blocks of the largest tensor.
    n_lanes, size, block, head_dim, element_width
        As of :class:`~qkloom.rtl.cache.store.RowStore`.

    Members
    -------
    d_tiles : In
        Chunks of a token, of this call.
    visits : In(stream)
        :func:`wanted_layout`.
    ends : In(1)
        No visit comes any more, until ``idle``.
    tiles : In(stream)
        :func:`~qkloom.rtl.cache.store.tile_layout`: of each visit its tiles from the first one on,
        and its end.
    requests : Out(stream)
        Tiles to fetch, of keys and of values: :func:`~qkloom.rtl.sequencer.call.request_layout`.
    i_key, i_value : In(stream)
        What was asked for: ``size`` tokens a tile.
    o_key, o_value : Out(stream)
        :func:`~qkloom.rtl.mover.frame.row_layout`: rows for lanes.
    events, idle
        As of the control.

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
        blocks: int,
        heads: int,
        windows: int,
        lookahead: int,
        split: bool = False,
        hot_memory: str = "auto",
        cold_memory: str = "auto",
        most: int,
        n_lanes: int,
        size: int,
        block: int,
        head_dim: int,
        element_width: int,
    ) -> None:
        self._control: dict[str, Any] = dict(
            policy=policy,
            hot=hot,
            cold=cold,
            blocks=blocks,
            heads=heads,
            windows=windows,
            lookahead=lookahead,
        )
        tiers = ((hot, hot_memory), (cold, cold_memory)) if split else ((hot + cold, cold_memory),)
        parts = tuple(f"{n}+{memory}" for n, memory in tiers if n)
        self._store: dict[str, Any] = dict(
            parts=(*parts, str(BYPASSES)),
            n_lanes=n_lanes,
            size=size,
            block=block,
            head_dim=head_dim,
            element_width=element_width,
        )
        self._slots, self._lookahead = hot + cold + BYPASSES, lookahead
        self._size, self._tiles = size, -(-block // size)
        wanted = wanted_layout(blocks=blocks, heads=heads, windows=windows, most=most, block=block)
        request = request_layout(to=n_lanes, blocks=most, tiles=self._tiles, tokens=size)
        row = row_layout(to=n_lanes, size=size, element_width=element_width)
        rows = stream.Signature(row["item"].shape["row"].shape)
        events = CacheControl(**self._control).signature.members["events"].shape
        super().__init__(
            {
                "d_tiles": In(range(head_dim // size + 1)),
                "visits": In(stream.Signature(wanted)),
                "ends": In(1),
                "tiles": In(stream.Signature(tile_layout(n_lanes=n_lanes))),
                "requests": Out(stream.Signature(request)),
                "i_key": In(rows),
                "i_value": In(rows),
                "o_key": Out(stream.Signature(row)),
                "o_value": Out(stream.Signature(row)),
                "events": Out(events),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Send each decision to all whom it concerns; count who has served it."""
        m = Module()
        m.submodules.control = control = CacheControl(**self._control)
        wanted = self.visits.payload
        m.d.comb += [
            control.i.payload.eq(wanted.visit),
            control.i.valid.eq(self.visits.valid),
            self.visits.ready.eq(control.i.ready),
            control.ends.eq(self.ends),
            self.events.eq(control.events),
            self.idle.eq(control.idle),
        ]

        # A decision goes to memory, if the block is not there, and to both stores; the visit stays
        # at the input until then.
        decision = control.o.payload
        n_tiles = Signal(range(self._tiles + 1))
        m.d.comb += n_tiles.eq((wanted.tokens + (self._size - 1)) // self._size)
        place = {name: wanted.shape()[name].shape for name in ("index", "tokens")}
        m.submodules.fetches = fetches = Queue(
            shape=data.StructLayout(place), depth=self._lookahead
        )
        for name in place:
            m.d.comb += fetches.i.payload[name].eq(wanted[name])
        tile = self.tiles.payload.shape()
        m.submodules.tile_fork = tile_fork = Fork(shape=tile, n=2)
        connect_stream(m, wiring.flipped(self.tiles), tile_fork.i)
        sinks: list[tuple[Any, Any]] = [(fetches.i, decision.fetch)]
        n_served = {}
        for k, name in enumerate(("key", "value")):
            m.submodules[f"{name}s"] = store = RowStore(**self._store)
            fill = fill_layout(slots=self._slots, tiles=self._tiles)
            visit = serve_layout(slots=self._slots)
            depth = self._lookahead
            m.submodules[f"{name}_fills"] = fills = Queue(shape=fill, depth=depth)
            m.submodules[f"{name}_visits"] = visits = Queue(shape=visit, depth=depth)
            m.submodules[f"{name}_tiles"] = tiles = Queue(
                shape=tile_fork.i.payload.shape(), depth=2
            )
            connect_stream(m, fills.o, store.fills)
            connect_stream(m, visits.o, store.visits)
            connect_stream(m, tile_fork.o[k], tiles.i)
            connect_stream(m, tiles.o, store.tiles)
            connect_stream(m, wiring.flipped(getattr(self, f"i_{name}")), store.rows)
            connect_stream(m, store.o, wiring.flipped(getattr(self, f"o_{name}")))
            m.d.comb += [
                store.d_tiles.eq(self.d_tiles),
                fills.i.payload.slot.eq(decision.slot),
                fills.i.payload.tiles.eq(n_tiles),
                visits.i.payload.slot.eq(decision.slot),
                visits.i.payload.fetch.eq(decision.fetch),
            ]
            sinks += [(fills.i, decision.fetch), (visits.i, 1)]
            n_served[name] = Signal(range(self._lookahead + 1), name=f"{name}s_served")
            m.d.sync += n_served[name].eq(n_served[name] + store.served - control.served)
        m.d.comb += control.served.eq(n_served["key"].any() & n_served["value"].any())
        goes = Signal()
        m.d.comb += [
            control.o.ready.eq(reduce(and_, (sink.ready for sink, _ in sinks))),
            goes.eq(control.o.valid & control.o.ready),
            *(sink.valid.eq(goes & concerns) for sink, concerns in sinks),
        ]
        self._fetch(m, fetches)
        return m

    def _fetch(self, m: Module, fetches: Queue) -> None:
        """Ask for the tiles of a block, one after the other; the last one may have fewer tokens."""
        block, request = fetches.o.payload, self.requests.payload
        left = Signal.like(block.tokens)  # behind the tiles that were asked for
        begun = Signal()
        tokens = Signal.like(block.tokens)
        tile = Signal.like(request.tile)
        is_last = Signal()
        m.d.comb += [
            tokens.eq(Mux(begun, left, block.tokens)),
            is_last.eq(tokens <= self._size),
            request.to.eq(-1),
            request.index.eq(block.index),
            request.tile.eq(tile),
            request.tokens.eq(Mux(is_last, tokens, self._size)),
            self.requests.valid.eq(fetches.o.valid),
            fetches.o.ready.eq(self.requests.ready & is_last),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [
                begun.eq(~is_last),
                left.eq(tokens - self._size),
                tile.eq(Mux(is_last, 0, tile + 1)),
            ]
