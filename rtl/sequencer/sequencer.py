"""The sequencer: everything that is asked of lanes and memory for a call."""

from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout, command_layout
from ..cache.store import tile_layout
from ..check import check_count
from ..component import Component
from ..index.rule import ask_layout, aware_layout, rule_layout
from ..stream import Fork, Queue, RegisterSlice, connect_stream
from .attention import AttentionWalker
from .call import SELECTION_WIDTH, call_layout, n_blocks, request_layout, row_words
from .call_walk import CallWalker
from .deal import Dealer
from .either import EitherWalker
from .locate import Locator, located_layout
from .lookup import Lookup
from .queries import AwareQueries
from .scout import Scout
from .selection import Selection
from .visit import VisitTeller, told_layout, use_of_window
from .walk import addressed_job, factored_entry

__all__ = ["FACTOR_WIDTH", "OUTPUT_WIDTH", "TABLE_WIDTH", "Sequencer", "task_layout"]

OUTPUT_WIDTH = 32
"""Bits of an output in memory: ``Fixed(8, 16)``, the sign extended."""

FACTOR_WIDTH = 64
"""Bits of a head's score factor in memory: mantissa in the low half, shift in the high half."""

TABLE_WIDTH = 32
"""Bits of an entry of the block table."""


def task_layout(
    *,
    call: data.StructLayout,
    channels: tuple[tuple[str, int], ...],
    address_width: int = 64,
    sparse: bool = False,
    index_blocks: int = 0,
) -> data.StructLayout:
    """Return the layout of a call with the places of its tensors.

    Parameters
    ----------
    call : StructLayout
        :func:`~qkloom.rtl.sequencer.call.call_layout`.
    channels : tuple of (str, int)
        Tensors and the number of channels that each is spread over: so many pointers it has.
    address_width : int
        Bits of an address.
    sparse : bool
        Whether a call may have a selection.
    index_blocks : int
        Most blocks of a sequence that an index call selects from; 0 if there are no such calls.
    """
    pointers = {name: data.ArrayLayout(address_width, n) for name, n in channels}
    of_selection = {
        "selection": address_width,
        "sparse": 1,  # query blocks see what the selection says
    }
    # An index call writes the selection, by this rule. Its values are queries, of all tokens.
    of_index = {
        "verdicts": address_width,
        "heads": call["kv_heads"].shape,
        "rule": rule_layout(index_blocks),
    }
    return data.StructLayout(
        {
            "call": call,
            **pointers,
            "factors": address_width,
            "table": address_width,
            "paged": 1,  # keys and values are where the table says
            **(of_selection if sparse else {}),
            **(of_index if index_blocks else {}),
        }
    )


class Sequencer(Component):
    """Turn a call into jobs, and into what is to be fetched and stored, all in one order.

    ::

        i --> dealer --> factors --> walker --+--> jobs
                            |                 +--> locate q, o --> q, o
                          memory              +--> table --> locate k, v --> k, v
                                                     |
                                                   memory

    With ``sparse``, query blocks go from the factors to the walker by way of the selection, which
    reads memory too.

    With ``per_lane``, a call with a selection goes in windows, and takes keys and values from a
    cache of KV blocks, which asks for them::

        selection --> needed --+--> walker --> jobs, cached
                               +--> teller --> visits        requests --> table --> locate k, v
        scout -------------------------------> uses

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and query blocks that each holds at a time.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    stream_width, stationary_width : int
        Bits of queries, and of keys and values, in memory as in the lanes.
    channels : tuple of (str, int)
        Channels of ``"q"``, ``"k"``, ``"v"`` and ``"o"``.
    data_width, address_width : int
        Bits of a beat and of an address.
    runtime_precision : bool
        Whether jobs say how many bits of their queries count.
    gemm : bool
        Whether a call may be a product of matrices. Then ``to`` of ``q`` has a bit for each lane.
    sparse : bool
        Whether a call may have a selection.
    index_tokens : int
        Longest sequence of an index call; 0 if there is none. The others are sparse then.
    key_heads : int
        Most KV heads in a round of an index call.
    heads_ahead : int
        How many heads of a round have all their queries read before it is known whether they are
        query-aware.
    per_lane : int
        Query blocks of a lane in a window; 0 if there is no cache.
    lookahead : int
        KV blocks that the cache is told of before they are needed.

    Members
    -------
    i : In(stream)
        Calls: :func:`task_layout`; taken when all has been asked for.
    jobs : Out(stream)
        For the core.
    q, k, v, o : Out(stream)
        What to move: :func:`~qkloom.rtl.sequencer.locate.fetch_layout`. ``to`` is a lane, or a bit
        for each.
    factor_command, table_command, selection_command, scout_command : Out(stream)
        Beats to read of the tables of score factors and of blocks, and of the selection if there
        may be one: twice if windows take a cache.
    factor_beat, table_beat, selection_beat, scout_beat : In(stream)
        These beats.
    asks : Out(stream)
        With ``index_tokens``, the heads of an index call:
        :func:`~qkloom.rtl.index.rule.ask_layout`.
    aware : In(stream)
        What is known of them: :func:`~qkloom.rtl.index.rule.aware_layout`. Queries of those
        that are query-aware, and of ``heads_ahead``, are asked for at ``v``, from first to last,
        also when ``i`` has been taken: the call stays at its payload.
    uses, visits : Out(stream)
        With ``per_lane``: all uses of KV blocks of a KV head, and then the same again in their
        turn, with where the blocks are: :func:`~qkloom.rtl.sequencer.visit.use_of_window`,
        :func:`~qkloom.rtl.sequencer.visit.told_layout`.
    cached : Out(stream)
        Which lanes need tiles of a visit: :func:`~qkloom.rtl.cache.store.tile_layout`.
    requests : In(stream)
        Tiles that the cache has to fetch: :func:`~qkloom.rtl.sequencer.call.request_layout`.
    served : In(1)
        All visits of the call have been served; ``i`` waits for that.
    q_blocks : Out
        Query blocks of a head of the call, from its first one on.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        n_lanes: int,
        slots: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        channels: tuple[tuple[str, int], ...],
        data_width: int,
        address_width: int = 64,
        stream_width: int = 8,
        stationary_width: int = 8,
        runtime_precision: bool = False,
        gemm: bool = False,
        sparse: bool = False,
        index_tokens: int = 0,
        key_heads: int = 1,
        heads_ahead: int = 0,
        per_lane: int = 0,
        lookahead: int = 1,
    ) -> None:
        if per_lane and not sparse:
            raise ValueError("Windows are of calls with a selection: they must be sparse ones, too")
        self._per_lane, self._lookahead = per_lane, lookahead
        self._gemm, self._sparse, self._index_tokens = gemm, sparse, index_tokens
        self._key_heads = key_heads if index_tokens else 0
        if heads_ahead:
            check_count("Heads ahead", heads_ahead, most=n_lanes)
        self._heads_ahead = heads_ahead
        if index_tokens and not sparse:
            raise ValueError("Index calls must come with sparse ones, which read what they select")
        self._shape: dict[str, Any] = dict(
            n_lanes=n_lanes,
            slots=slots,
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            block=block,
        )
        self._runtime_precision = runtime_precision
        blocks = n_blocks(heads=heads, tokens=tokens, block=block)
        bus = {"data_width": data_width, "address_width": address_width}
        tensor = {"blocks": blocks, "size": size, "block": block, "head_dim": head_dim, **bus}
        of_block = {**tensor, "to": range(n_lanes), "tiles": 1, "tokens": block}
        of_tile = {**tensor, "to": n_lanes, "tiles": block // size, "tokens": size}
        of_tile["element_width"] = stationary_width
        n = dict(channels)
        self._locators: dict[str, dict[str, Any]] = {
            "q": {**of_block, "element_width": stream_width, "n_channels": n["q"]},
            "k": {**of_tile, "n_channels": n["k"]},
            "v": {**of_tile, "n_channels": n["v"]},
            "o": {**of_block, "element_width": OUTPUT_WIDTH, "n_channels": n["o"]},
        }
        if gemm:
            self._locators["q"]["to"] = n_lanes
            self._locators["o"]["narrows"] = True
        self._tables: dict[str, dict[str, int]] = {
            "factor": {"entries": heads, "entry_width": FACTOR_WIDTH, **bus},
            "table": {"entries": blocks, "entry_width": TABLE_WIDTH, **bus},
        }
        if sparse:
            words = row_words(tokens=tokens, block=block, data_width=data_width)
            of_words = {"entries": blocks * words, "entry_width": SELECTION_WIDTH}
            self._tables["selection"] = {**of_words, **bus}
        self._selection: dict[str, Any] = {
            **self._shape,
            "data_width": data_width,
            "gemm": gemm,
            "per_lane": per_lane,
        }
        selects = index_tokens > 0
        self._scout = {**self._selection, "selects": selects, "address_width": address_width}
        places = n_lanes * max(per_lane, 1)
        self._teller: dict[str, Any] = dict(places=places, heads=heads, tokens=tokens, block=block)
        call = call_layout(
            heads=heads, tokens=tokens, head_dim=head_dim, size=size, gemm=gemm, selects=selects
        )
        index_blocks = -(-index_tokens // block)
        task = task_layout(
            call=call,
            channels=channels,
            address_width=address_width,
            sparse=sparse,
            index_blocks=index_blocks,
        )
        self._queries = dict(
            n_lanes=n_lanes,
            heads=heads,
            tokens=tokens,
            size=size,
            block=block,
        )
        of_index = {
            "asks": Out(stream.Signature(ask_layout(key_heads))),
            "aware": In(
                stream.Signature(aware_layout(n_blocks(heads=1, tokens=tokens, block=block)))
            ),
        }
        command = stream.Signature(command_layout(address_width=address_width, beats=1))
        beat = stream.Signature(beat_layout(data_width=data_width))
        job = addressed_job(
            n_lanes=n_lanes,
            size=size,
            block_rows=block,
            head_dim=head_dim,
            tokens=tokens,
            slots=slots,
            runtime_precision=runtime_precision,
            gemm=gemm,
            scores_only=selects,
            repeats=per_lane > 0,
        )
        of_cache: dict[str, Any] = {}
        if per_lane:
            told = stream.Signature(told_layout(**self._teller))
            of_sequence = {"tokens": tokens, "block": block}
            to_fetch = request_layout(to=n_lanes, blocks=blocks, tiles=block // size, tokens=size)
            of_cache = {
                "uses": Out(stream.Signature(use_of_window(places=places, **of_sequence))),
                "visits": Out(told),
                "scout_command": Out(command),
                "scout_beat": In(beat),
                "cached": Out(stream.Signature(tile_layout(n_lanes=n_lanes))),
                "requests": In(stream.Signature(to_fetch)),
                "served": In(1),
                "q_blocks": Out(range(n_blocks(heads=1, tokens=tokens, block=block) + 1)),
            }
        super().__init__(
            {
                "i": In(stream.Signature(task)),
                "jobs": Out(stream.Signature(job)),
                **{
                    name: Out(stream.Signature(located_layout(**parameters)))
                    for name, parameters in self._locators.items()
                },
                **{f"{name}_command": Out(command) for name in self._tables},
                **{f"{name}_beat": In(beat) for name in self._tables},
                **(of_index if selects else {}),
                **of_cache,
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; the call stays at the input until the last of them is done with it."""
        m = Module()
        task = self.i.payload
        m.submodules.dealer = dealer = Dealer(
            **self._shape, gemm=self._gemm, key_heads=self._key_heads, per_lane=self._per_lane
        )
        m.submodules.walker = walker = self._make_walker()
        m.submodules.factors = factors = Lookup(**self._tables["factor"])
        m.submodules.table = table = Lookup(**self._tables["table"])
        lookups = {"factor": factors, "table": table}
        if self._sparse:
            m.submodules.rows = lookups["selection"] = Lookup(**self._tables["selection"])
        for name, lookup in lookups.items():
            m.d.comb += lookup.forget.eq(self.i.ready)
            connect_stream(m, lookup.command, wiring.flipped(getattr(self, f"{name}_command")))
            connect_stream(m, wiring.flipped(getattr(self, f"{name}_beat")), lookup.beat)

        dealt = Signal()
        m.d.comb += [
            dealer.i.valid.eq(self.i.valid & ~dealt),
            dealer.i.payload.eq(task.call),
            factors.base.eq(task.factors),
            table.base.eq(task.table),
            walker.call.eq(task.call),
        ]
        if self._gemm:
            m.d.comb += walker.q_blocks.eq(dealer.q_blocks)
            m.d.comb += walker.kv_blocks.eq(dealer.kv_blocks)
        with m.If(dealer.i.valid & dealer.i.ready):
            m.d.sync += dealt.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += dealt.eq(0)

        # A query block waits for its head's factor, and for its row of the selection.
        taken, works = walker.i, walker.busy
        queries = None
        if self._index_tokens:
            m.submodules.queries = queries = AwareQueries(**self._queries)
        if self._sparse:
            selection = self._select(m, walker, lookups["selection"], queries)
            taken, works = selection.i, walker.busy | selection.busy
        entry = taken.payload.shape()["entry"].shape
        assert factored_entry(entry) == taken.payload.shape()
        m.d.comb += [
            factors.i.payload.eq(dealer.o.payload.head),
            factors.i.valid.eq(dealer.o.valid),
            taken.payload.entry.eq(dealer.o.payload),
            taken.payload.mantissa.eq(factors.o.payload[: FACTOR_WIDTH // 2]),
            taken.payload.shift.eq(factors.o.payload[FACTOR_WIDTH // 2 :]),
            taken.valid.eq(factors.o.valid),
            factors.o.ready.eq(taken.ready),
            dealer.o.ready.eq(factors.i.ready),
        ]
        asks_for_tiles, waits_for_cache = walker.tiles, Value.cast(0)
        if self._per_lane:
            self._scout_ahead(m)
            asks_for_tiles = self._ask_for_tiles(m, walker)
            waits_for_cache = task.sparse & ~self.served
            m.d.comb += [dealer.windowed.eq(task.sparse), self.q_blocks.eq(dealer.q_blocks)]
        # Lanes are far away: a job leaves from a register.
        m.submodules.job = job = RegisterSlice(shape=walker.jobs.payload.shape(), mode="half")
        connect_stream(m, walker.jobs, job.i)
        connect_stream(m, job.o, wiring.flipped(self.jobs))

        # Keys and values are where the table says, or one block behind the other.
        m.submodules.tile = asked = RegisterSlice(shape=walker.tiles.payload.shape(), mode="half")
        connect_stream(m, asks_for_tiles, asked.i)
        tile = asked.o.payload
        m.submodules.tiles = tiles = Fork(shape=tile.shape(), n=2)
        asks = Signal()
        m.d.comb += [
            asks.eq(asked.o.valid & task.paged),
            table.i.payload.eq(tile.index),
            table.i.valid.eq(asks),
            table.o.ready.eq(tiles.i.ready),
            tiles.i.payload.eq(tile),
            tiles.i.payload.index.eq(Mux(task.paged, table.o.payload, tile.index)),
            tiles.i.valid.eq(Mux(task.paged, table.o.valid, asked.o.valid)),
            asked.o.ready.eq(tiles.i.ready & tiles.i.valid),
        ]

        # Whoever locates holds on to a request until it is done; a slice lets the walker go on.
        waiting = Signal(len(self._locators) + 1)
        for number, (name, source) in enumerate(
            (("q", walker.rows), ("o", walker.places), ("k", tiles.o[0]), ("v", tiles.o[1]))
        ):
            m.submodules[f"locate_{name}"] = locate = Locator(**self._locators[name])
            m.submodules[f"slice_{name}"] = kept = RegisterSlice(shape=source.payload.shape())
            if queries is not None and name in "ov":
                self._connect_unless_selects(m, source, kept.i, queries if name == "v" else None)
            else:
                connect_stream(m, source, kept.i)
            connect_stream(m, kept.o, locate.i)
            if self._gemm and name == "v":  # weights are keys only
                with m.If(task.call.gemm):
                    m.d.comb += [locate.i.valid.eq(0), kept.o.ready.eq(1)]
            connect_stream(m, locate.o, wiring.flipped(getattr(self, name)))
            m.d.comb += [
                locate.d_tiles.eq(task.call.d_tiles),
                locate.pointers.eq(task[name]),
                waiting[number].eq(kept.o.valid),
            ]
            if self._gemm and name == "o":
                m.d.comb += locate.narrow.eq(task.call.gemm)
        m.d.comb += waiting[-1].eq(asked.o.valid)
        is_done = Signal()
        m.d.sync += is_done.eq(dealt & ~is_done & ~works & ~waits_for_cache & ~waiting.any())
        m.d.comb += self.i.ready.eq(is_done)
        return m

    def _make_walker(self) -> Any:
        """Return what walks through the calls that there may be."""
        given: dict[str, Any] = dict(
            **self._shape,
            runtime_precision=self._runtime_precision,
            selects=self._index_tokens > 0,
        )
        if self._per_lane:
            given |= {"per_lane": self._per_lane, "lookahead": self._lookahead}
            return CallWalker(**given, gemm=self._gemm)
        walks = EitherWalker if self._gemm else AttentionWalker
        return walks(**given, sparse=self._sparse)

    def _select(
        self,
        m: Module,
        walker: Any,
        rows: Lookup,
        queries: AwareQueries | None,
    ) -> Selection:
        """Put the selection in front of a walker; return it."""
        task = self.i.payload
        m.submodules.selection = selection = Selection(**self._selection)
        if queries is not None:
            self._ask(m, selection.o, walker.i, queries)
        else:
            connect_stream(m, selection.o, walker.i)
        if self._per_lane:
            self._tell(m, selection, walker)
            m.d.comb += [walker.windowed.eq(task.sparse), selection.forget.eq(self.i.ready)]
        else:
            connect_stream(m, selection.needed, walker.needed)
            m.d.comb += walker.sparse.eq(task.sparse)
        connect_stream(m, selection.request, rows.i)
        connect_stream(m, rows.o, selection.word)
        m.d.comb += [
            selection.sparse.eq(task.sparse),
            rows.base.eq(task.selection),
        ]
        return selection

    def _tell(self, m: Module, selection: Selection, walker: CallWalker) -> None:
        """Tell walker and cache of the KV blocks that windows need."""
        m.submodules.needed = needed = Fork(shape=selection.needed.payload.shape(), n=2)
        m.submodules.teller = teller = VisitTeller(**self._teller)
        connect_stream(m, selection.needed, needed.i)
        connect_stream(m, needed.o[0], walker.needed)
        connect_stream(m, needed.o[1], teller.i)
        connect_stream(m, teller.o, wiring.flipped(self.visits))
        m.d.comb += [
            teller.n_kv.eq(self.i.payload.call.n_kv),
            teller.kv_blocks.eq(m.submodules.dealer.kv_blocks),
            teller.forget.eq(self.i.ready),
        ]

    def _scout_ahead(self, m: Module) -> None:
        """Say what windows will need, a call at a time."""
        task = self.i.payload
        m.submodules.scout = scout = Scout(**self._scout)
        scouted = Signal()
        m.d.comb += [
            scout.base.eq(task.selection),
            scout.forget.eq(self.i.ready),
            scout.i.payload.eq(task.call),
            scout.i.valid.eq(self.i.valid & task.sparse & ~scouted),
        ]
        with m.If(scout.i.valid & scout.i.ready):
            m.d.sync += scouted.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += scouted.eq(0)
        connect_stream(m, scout.o, wiring.flipped(self.uses))
        connect_stream(m, scout.command, wiring.flipped(self.scout_command))
        connect_stream(m, wiring.flipped(self.scout_beat), scout.beat)

    def _ask_for_tiles(self, m: Module, walker: CallWalker) -> Any:
        """Return who asks for tiles of keys and values: the walker, or the cache."""
        connect_stream(m, walker.cached, wiring.flipped(self.cached))
        sparse = self.i.payload.sparse
        asked = stream.Signature(walker.tiles.payload.shape()).create(path=("asked",))
        m.d.comb += [
            asked.valid.eq(Mux(sparse, self.requests.valid, walker.tiles.valid)),
            asked.payload.eq(Mux(sparse, self.requests.payload, walker.tiles.payload)),
            walker.tiles.ready.eq(asked.ready & ~sparse),
            self.requests.ready.eq(asked.ready & sparse),
        ]
        return asked

    def _ask(self, m: Module, source: Any, sink: Any, queries: AwareQueries) -> None:
        """Let a head's query block pass, and in an index call ask for the head."""
        depth = 2 * self._shape["n_lanes"]
        m.submodules.ask = asks = Queue(shape=self.asks.payload.shape(), depth=depth)
        m.submodules.begin = begins = Queue(shape=queries.begins.payload.shape(), depth=depth)
        connect_stream(m, asks.o, wiring.flipped(self.asks))
        connect_stream(m, begins.o, queries.begins)
        selects = self.i.payload.call.selects
        entry, ask = source.payload.entry, asks.i.payload
        key_head = Signal.like(ask.key_head)  # of the block before, or one more
        # The first heads of a round: a bit for each, and for all others.
        turn = Signal(self._heads_ahead + 1, init=1)
        may_pass = Signal()
        m.d.comb += [
            may_pass.eq((asks.i.ready & begins.i.ready) | ~selects),
            sink.payload.eq(source.payload),
            sink.valid.eq(source.valid & may_pass),
            source.ready.eq(sink.ready & may_pass),
            asks.i.valid.eq(source.valid & sink.ready & selects & begins.i.ready),
            begins.i.valid.eq(source.valid & sink.ready & selects & asks.i.ready),
            begins.i.payload.ahead.eq(ask.ahead),
            ask.ahead.eq(~turn[-1]),
            ask.mantissa.eq(source.payload.mantissa),
            ask["shift"].eq(source.payload["shift"]),
            ask.key_head.eq(key_head),
            ask.ends.eq(entry.round_ends),
        ]
        with m.If(source.valid & source.ready):
            m.d.sync += key_head.eq(Mux(entry.round_ends, 0, key_head + entry.run_ends))
            m.d.sync += turn.eq(Mux(entry.round_ends, 1, Mux(turn[-1], turn, turn << 1)))

    def _connect_unless_selects(
        self, m: Module, source: Any, sink: Any, queries: AwareQueries | None
    ) -> None:
        """Drop what an index call has neither values nor outputs for; its queries come instead."""
        task = self.i.payload
        selects = task.call.selects
        m.d.comb += [
            sink.payload.eq(source.payload),
            sink.valid.eq(source.valid & ~selects),
            source.ready.eq(sink.ready | selects),
        ]
        if queries is None:
            return
        connect_stream(m, wiring.flipped(self.aware), queries.i)
        m.d.comb += [
            queries.heads.eq(task.heads),
            queries.tokens.eq(task.call.n_kv),
            queries.o.ready.eq(sink.ready & selects),
        ]
        with m.If(selects):
            m.d.comb += [sink.payload.eq(queries.o.payload), sink.valid.eq(queries.o.valid)]
