"""Walking through the KV blocks of a round."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..lane.job import index, job_layout
from .call import block_entry, call_layout, n_blocks, needed_layout, request_layout

__all__ = ["Walker", "addressed_job", "factored_entry", "walker_ports"]


def factored_entry(entry: data.StructLayout, *, sparse: bool = False) -> data.StructLayout:
    """Return the layout of a query block with its head's score factor, ``mantissa / 2**shift``.

    Where calls may have a selection, a query block may be ``hidden``: none of its rows sees a key.
    """
    of_selection = {"hidden": 1} if sparse else {}
    return data.StructLayout({"entry": entry, "mantissa": 17, "shift": 6, **of_selection})


def addressed_job(*, n_lanes: int, **lane: Any) -> data.StructLayout:
    """Return the layout of a job for one of the lanes, whose parameters are ``job_layout``'s."""
    return data.StructLayout({"to": range(n_lanes), "item": job_layout(**lane)})


def walker_ports(
    *,
    n_lanes: int,
    slots: int,
    heads: int,
    tokens: int,
    head_dim: int,
    size: int,
    block: int,
    runtime_precision: bool = False,
    sparse: bool = False,
    selects: bool = False,
) -> dict[str, wiring.Member]:
    """Return the ports of a walker, whose parameters these are.

    Raises
    ------
    TypeError, ValueError
        As :class:`Walker` says.
    """
    most = n_blocks(heads=heads, tokens=tokens, block=block)
    entry = block_entry(n_lanes=n_lanes, slots=slots, heads=heads, tokens=tokens, block=block)
    job = addressed_job(
        n_lanes=n_lanes,
        size=size,
        block_rows=block,
        head_dim=head_dim,
        tokens=tokens,
        slots=slots,
        runtime_precision=runtime_precision,
        scores_only=selects,
    )
    call = call_layout(heads=heads, tokens=tokens, head_dim=head_dim, size=size, selects=selects)
    blocks = request_layout(to=range(n_lanes), blocks=most, tiles=1, tokens=block)
    tiles = request_layout(to=n_lanes, blocks=most, tiles=block // size, tokens=size)
    needed = needed_layout(n_lanes=n_lanes, tokens=tokens, block=block)
    of_selection = {"sparse": In(1), "needed": In(stream.Signature(needed))}
    return {
        "call": In(call),
        "i": In(stream.Signature(factored_entry(entry, sparse=sparse))),
        **(of_selection if sparse else {}),
        "jobs": Out(stream.Signature(job)),
        "blocks": Out(stream.Signature(blocks)),
        "tiles": Out(stream.Signature(tiles)),
        "busy": Out(1),
    }


class Walker(Component):
    """Take the query blocks of a round, and say in which order the core gets what.

    KV block by KV block: a job for each lane that still sees keys; with its first job the lane's
    queries, and where its outputs go; then the block's key tiles, each with the lanes that need it.
    Lanes of one KV head share a tile. All of it in the one order in which no lane waits for another
    in a circle (see :class:`~qkloom.rtl.core.Core`). With a selection it goes from one block that
    some lane needs to the next one; others are not asked for.

    A job takes four cycles, and a tile three for each lane and two for each KV head: the
    array takes longer for either, since a tile meets all rows of a block for as many passes as
    there are tiles of head_dim.

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and query blocks that each holds at a time.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    runtime_precision : bool
        Whether jobs say how many bits of their queries count.
    sparse : bool
        Whether calls may have a selection.
    selects : bool
        Whether calls may be index calls: their jobs are for scores only.

    Members
    -------
    call : In
        The call that is being worked on.
    i : In(stream)
        Its query blocks: :func:`factored_entry`.
    sparse : In(1)
        With ``sparse``: the call has a selection.
    needed : In(stream)
        With a selection, the KV blocks of each round:
        :func:`~qkloom.rtl.sequencer.call.needed_layout`. The last one has the last key of some
        query block.
    jobs : Out(stream)
        ``to``: lane, ``item``: job.
    blocks : Out(stream)
        Query blocks to fetch, and to keep a place for: ``to`` is the lane.
    tiles : Out(stream)
        Tiles of keys and of values to fetch: ``to`` has a bit per lane.
    busy : Out(1)
        It is on the way through a round.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

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
        runtime_precision: bool = False,
        sparse: bool = False,
        selects: bool = False,
    ) -> None:
        self._n_lanes, self._size, self._block = n_lanes, size, block
        self._sparse = sparse
        super().__init__(walker_ports(**self.parameters))
        self._blocks = -(-tokens // block)  # of a head, at most

    def elaborate(self, platform: object) -> Module:
        """Keep a round's entries in a memory, and read them again for each block and each tile."""
        m = Module()
        call, job, tile = self.call, self.jobs.payload.item, self.tiles.payload
        shape = self.i.payload.shape()
        m.submodules.round = memory = Memory(shape=shape, depth=max(self._n_lanes, 2), init=[])
        write = memory.write_port()
        read = memory.read_port(domain="comb")
        read_data = Signal(shape)  # named, so that it is one view of one signal
        now = Signal(shape, reset_less=True)  # the entry that is looked at
        entry = now.entry
        lane = Signal(index(self._n_lanes))
        last_lane = Signal(index(self._n_lanes))
        at_last_lane = Signal()
        longest = Signal.like(entry.keys)
        first_key = Signal.like(entry.keys)  # of the block
        first_tile_key = Signal.like(entry.keys)  # of the tile
        block_number = Signal(index(self._blocks))
        tokens_left = Signal.like(call.n_kv)  # from the tile's first on, in memory
        tile_number = Signal.like(tile.tile)
        first_block = Signal()
        is_first: Any = first_block  # the job, of its lane
        causal: Any = call.causal
        if self._sparse:
            is_first = Signal(name="is_first")
            causal = call.causal | now.hidden
            seeks = Signal()  # the next block that is needed
            needs = Signal(self._n_lanes)  # the block: a bit for each lane
            needs_it = Signal()  # this lane
            begun = Signal(self._n_lanes)  # who had a job
            here = Signal(self._n_lanes, reset_less=True)  # the lane's bit
            m.d.sync += [
                here.eq(1 << lane),
                needs_it.eq(needs.bit_select(lane, 1)),
                is_first.eq(~begun.bit_select(lane, 1)),
            ]
        keys_left = Signal.like(entry.keys)
        sees_tile = Signal()
        last_tile = Signal()
        last_block = Signal()
        is_needed = Signal()  # the tile, by a lane
        is_new = Signal()  # no lane has been asked yet
        m.d.comb += [
            write.addr.eq(self.i.payload.entry.lane),
            write.data.eq(self.i.payload),
            read.addr.eq(lane),
            read_data.eq(read.data),
        ]
        m.d.sync += at_last_lane.eq(lane == last_lane)  # both stay for three cycles before

        m.d.comb += [
            self.jobs.payload.to.eq(lane),
            job.first.eq(is_first),
            job.last.eq(keys_left <= self._block),
            job.keys.eq(Mux(job.last, keys_left, self._block)),
            job.slot.eq(entry.slot),
            job.rows.eq(entry.rows),
            job.d_tiles.eq(call.d_tiles),
            job.causal.eq(causal),
            job.mantissa.eq(now.mantissa),
            job.shift.eq(now.shift),
            self.blocks.payload.to.eq(lane),
            self.blocks.payload.index.eq(entry.q_index),
            self.blocks.payload.tokens.eq(entry.rows),
        ]
        if "planes" in job.shape().members:
            m.d.comb += job.planes.eq(call.planes)
        if "selects" in call.shape().members:
            m.d.comb += job.scores_only.eq(call.selects)
        diagonal = Signal.like(job.diagonal)
        m.d.comb += job.diagonal.eq(diagonal)

        def sees(first: Signal) -> Any:
            within = entry.keys > first
            return within & needs_it if self._sparse else within

        def next_lane(again: str, behind: str) -> None:
            m.d.sync += lane.eq(lane + 1)
            m.next = again
            with m.If(at_last_lane):
                m.d.sync += lane.eq(0)
                m.next = behind

        fills = Signal(init=1)
        asks = Signal()  # for queries
        m.d.comb += [
            self.busy.eq(~fills),
            self.blocks.valid.eq(asks),
            self.i.ready.eq(fills),
            write.en.eq(fills & self.i.valid),
        ]
        if self._sparse:
            with m.If(asks):  # behind a lane's first job
                m.d.sync += begun.eq(begun | here)
            m.d.comb += self.needed.ready.eq(seeks)
            needed = self.needed.payload
            with m.If(seeks & self.needed.valid):
                m.d.sync += [
                    seeks.eq(0),
                    needs.eq(needed.lanes),
                    first_key.eq(needed.first_key),
                    block_number.eq(needed.block),
                    tokens_left.eq(call.n_kv - needed.first_key),
                ]
        with m.FSM():
            with m.State("fill"):
                if self._sparse:
                    m.d.sync += [needs.eq(-1), begun.eq(0)]
                m.d.sync += [first_key.eq(0), block_number.eq(0), first_block.eq(1), lane.eq(0)]
                m.d.sync += [tokens_left.eq(call.n_kv), last_lane.eq(self.i.payload.entry.lane)]
                with m.If(self.i.valid):
                    with m.If(self.i.payload.entry.keys > longest):
                        m.d.sync += longest.eq(self.i.payload.entry.keys)
                    with m.If(self.i.payload.entry.round_ends):
                        m.d.sync += fills.eq(0)
                        if self._sparse:
                            m.d.sync += seeks.eq(self.sparse)
                        m.next = "read for a job"
            with m.State("read for a job"):
                m.d.sync += now.eq(read_data)
                m.next = "subtract"
                if self._sparse:
                    with m.If(seeks):
                        m.next = "read for a job"
            with m.State("subtract"):
                m.d.sync += [
                    keys_left.eq(entry.keys - first_key),
                    sees_tile.eq(sees(first_key)),
                    diagonal.eq(entry.diagonal - first_key),
                ]
                m.next = "job"
            with m.State("job"):
                m.d.comb += self.jobs.valid.eq(sees_tile)
                with m.If(self.jobs.ready | ~sees_tile):
                    m.d.sync += asks.eq(is_first & sees_tile if self._sparse else is_first)
                    m.next = "queries"
            with m.State("queries"), m.If(self.blocks.ready | ~asks):
                m.d.sync += asks.eq(0)
                next_lane("read for a job", "block")
            with m.State("block"):
                m.d.sync += [first_tile_key.eq(first_key), tile_number.eq(0), first_block.eq(0)]
                m.d.sync += is_new.eq(1)
                m.next = "read for a tile"
            with m.State("read for a tile"):
                m.d.sync += now.eq(read_data)
                m.d.sync += [
                    tile.tokens.eq(Mux(tokens_left > self._size, self._size, tokens_left)),
                    last_block.eq(longest - first_key <= self._block),
                    last_tile.eq(longest - first_tile_key <= self._size),
                ]
                m.next = "compare"
            with m.State("compare"):
                m.d.sync += sees_tile.eq(sees(first_tile_key))
                m.d.sync += tile.index.eq(entry.kv_index + block_number)
                m.next = "mark"
            with m.State("mark"):
                with m.If(is_new):
                    m.d.sync += tile.to.eq(0)
                m.d.sync += tile.to.bit_select(lane, 1).eq(sees_tile)
                m.d.sync += [is_new.eq(0), is_needed.eq(sees_tile | (is_needed & ~is_new))]
                with m.If(entry.run_ends):
                    m.next = "tile"
                with m.Else():
                    m.d.sync += lane.eq(lane + 1)  # a round ends with the end of a run
                    m.next = "read for a tile"
            with m.State("tile"):
                m.d.comb += self.tiles.valid.eq(is_needed)
                m.d.sync += is_new.eq(1)
                with m.If(self.tiles.ready | ~is_needed):
                    m.next = "next lane of tiles"
            with m.State("next lane of tiles"):
                next_lane("read for a tile", "next tile")
            with m.State("next tile"):
                m.d.sync += [
                    first_tile_key.eq(first_tile_key + self._size),
                    tile_number.eq(tile_number + 1),
                    tokens_left.eq(tokens_left - self._size),
                ]
                m.next = "read for a tile"
                with m.If(last_tile | (tile_number == self._block // self._size - 1)):
                    m.next = "next block"
            with m.State("next block"):
                m.d.sync += [
                    first_key.eq(first_key + self._block),
                    block_number.eq(block_number + 1),
                ]
                if self._sparse:
                    m.d.sync += seeks.eq(self.sparse & ~last_block)
                m.next = "read for a job"
                with m.If(last_block):
                    m.d.sync += [longest.eq(0), fills.eq(1)]
                    m.next = "fill"
        m.d.comb += tile.tile.eq(tile_number)
        return m
