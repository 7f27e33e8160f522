"""Walking through a call: in rounds, or in windows whose KV blocks come from a cache."""

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component, pass_over
from ..stream import Queue, RegisterSlice, connect_stream
from .attention import AttentionWalker
from .call import needed_layout
from .either import EitherWalker, fill
from .select import selected_entries
from .window import WindowWalker

__all__ = ["CallWalker"]

_STREAMS = ("jobs", "rows", "places")


class CallWalker(Component):
    """Give calls with a selection to a walker of windows, and all others to one of rounds.

    Parameters
    ----------
    n_lanes, slots, per_lane, heads, tokens, head_dim, size, block : int
        As of :class:`~qkloom.rtl.sequencer.window.WindowWalker`.
    lookahead : int
        KV blocks that a cache is told of before they are needed: so many wait here.
    runtime_precision : bool
        Whether jobs say how many bits of what streams count.
    gemm : bool
        Whether a call may be a product of matrices.
    selects : bool
        Whether a call may be an index call.

    Members
    -------
    call : In
        The call that is being worked on, from before its first block until ``busy`` ends.
    windowed : In(1)
        It has a selection.
    i : In(stream)
        Its query blocks: as they leave a :class:`~qkloom.rtl.sequencer.selection.Selection`.
    needed : In(stream)
        KV blocks of its windows.
    q_blocks, kv_blocks : In
        With ``gemm``, as of :class:`~qkloom.rtl.sequencer.either.EitherWalker`.
    jobs, rows, places : Out(stream)
        As the walkers have them.
    tiles : Out(stream)
        In rounds, tiles of keys and values to fetch.
    cached : Out(stream)
        In windows, which lanes need tiles of the cache:
        :func:`~qkloom.rtl.cache.store.tile_layout`.
    busy : Out(1)
        A round or a window is on its way, or was in the cycle before. It rises two cycles after its
        last block at most.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a block no power of two of tiles.
    """

    def __init__(
        self,
        *,
        n_lanes: int,
        slots: int,
        per_lane: int,
        lookahead: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        runtime_precision: bool = False,
        gemm: bool = False,
        selects: bool = False,
    ) -> None:
        shape: dict[str, Any] = dict(
            n_lanes=n_lanes,
            slots=slots,
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            block=block,
        )
        jobs = {"runtime_precision": runtime_precision}
        self._gemm, self._lookahead = gemm, lookahead
        self._rounds: dict[str, Any] = {**shape, **jobs, "selects": selects}
        self._windows: dict[str, Any] = dict(
            **shape, **jobs, per_lane=per_lane, gemm=gemm, scores_only=selects
        )
        pass_over(by_rounds := self._make_rounds())
        pass_over(by_windows := WindowWalker(**self._windows))
        rounds, windows = by_rounds.signature.members, by_windows.signature.members
        _, entry = selected_entries(**shape, gemm=gemm, per_lane=per_lane)
        needed = needed_layout(n_lanes=n_lanes * per_lane, tokens=tokens, block=block, ends=True)
        super().__init__(
            {
                **{name: rounds[name] for name in rounds if name not in ("i", "jobs")},
                "windowed": In(1),
                "i": In(stream.Signature(entry)),
                "needed": In(stream.Signature(needed)),
                "jobs": windows["jobs"],
                "cached": windows["tiles"],
                "busy": Out(1),
            }
        )

    def _make_rounds(self) -> AttentionWalker | EitherWalker:
        return EitherWalker(**self._rounds) if self._gemm else AttentionWalker(**self._rounds)

    def elaborate(self, platform: object) -> Module:
        """Choose by a bit that stays as long as the call does."""
        m = Module()
        m.submodules.rounds = rounds = self._make_rounds()
        m.submodules.windows = windows = WindowWalker(**self._windows)
        m.submodules.entry = entry = RegisterSlice(shape=self.i.payload.shape(), mode="half")
        m.submodules.needed = needed = Queue(
            shape=self.needed.payload.shape(), depth=self._lookahead + 2
        )
        connect_stream(m, entry.o, windows.i)
        connect_stream(m, wiring.flipped(self.needed), needed.i)
        connect_stream(m, needed.o, windows.needed)
        connect_stream(m, rounds.tiles, wiring.flipped(self.tiles))
        connect_stream(m, windows.tiles, wiring.flipped(self.cached))
        m.d.comb += self.busy.eq(rounds.busy | windows.busy | entry.o.valid)
        if self._gemm:
            m.d.comb += [rounds.q_blocks.eq(self.q_blocks), rounds.kv_blocks.eq(self.kv_blocks)]
        walkers: tuple[tuple[Any, Any], ...] = ((rounds, ~self.windowed), (windows, self.windowed))
        for walker, _ in walkers:
            fill(m, walker.call, self.call)
        fill(m, rounds.i.payload, self.i.payload)
        m.d.comb += [
            entry.i.payload.eq(self.i.payload),
            entry.i.valid.eq(self.i.valid & self.windowed),
            rounds.i.valid.eq(self.i.valid & ~self.windowed),
            self.i.ready.eq(Mux(self.windowed, entry.i.ready, rounds.i.ready)),
        ]
        for name in _STREAMS:
            mine = getattr(self, name)
            for walker, is_meant in walkers:
                theirs = getattr(walker, name)
                m.d.comb += theirs.ready.eq(mine.ready)
                with m.If(is_meant):
                    fill(m, mine.payload, theirs.payload)
                    m.d.comb += mine.valid.eq(theirs.valid)
        if self._gemm:
            with m.If(self.windowed):  # a query block is one lane's
                m.d.comb += self.rows.payload.to.eq(1 << windows.rows.payload.to)
        return m
