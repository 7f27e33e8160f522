"""Walking through the inner dimension of a product of matrices, for the lanes of a round."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from .call import block_entry, call_layout, n_blocks, request_layout
from .walk import addressed_job, factored_entry

__all__ = ["ProductWalker", "walker_ports"]


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
    selects: bool = False,
) -> dict[str, wiring.Member]:
    """Return the ports of a walker of products, whose parameters these are.

    Raises
    ------
    TypeError, ValueError
        As :class:`ProductWalker` says.
    """
    check_count("Number of lanes", n_lanes)
    shape = {"heads": heads, "tokens": tokens}
    most = n_blocks(**shape, block=block)
    if block % size or block // size & block // size - 1:
        raise ValueError(f"Block must be a power of two of size {size}, not {block}")
    entry = block_entry(n_lanes=n_lanes, slots=slots, **shape, block=block, tiles=head_dim // size)
    job = addressed_job(
        n_lanes=n_lanes,
        size=size,
        block_rows=block,
        head_dim=head_dim,
        tokens=tokens,
        slots=slots,
        runtime_precision=runtime_precision,
        gemm=True,
        scores_only=selects,
    )
    call = call_layout(**shape, head_dim=head_dim, size=size, gemm=True, selects=selects)
    rows = request_layout(to=n_lanes, blocks=most, tiles=1, tokens=block)
    places = request_layout(to=range(n_lanes), blocks=most, tiles=1, tokens=block)
    tiles = request_layout(to=n_lanes, blocks=most, tiles=block // size, tokens=size)
    return {
        "call": In(call),
        "q_blocks": In(index(most)),
        "kv_blocks": In(index(most)),
        "i": In(stream.Signature(factored_entry(entry))),
        "jobs": Out(stream.Signature(job)),
        "rows": Out(stream.Signature(rows)),
        "places": Out(stream.Signature(places)),
        "tiles": Out(stream.Signature(tiles)),
        "busy": Out(1),
    }


class ProductWalker(Component):
    """Take the output blocks of a round, and say in which order the core gets what.

    Chunk by chunk of the inner dimension: a job for each lane, with the first one the place of its
    outputs; then each row block of activations once, with the lanes that need it; then tile by tile
    the weights of each group of channels, likewise.

    A job takes three cycles, a row block three for each lane, a tile four for each lane: the
    array takes longer for either, since a tile meets all rows for as many passes as there are tiles
    of head_dim.

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and row blocks that each holds at a time.
    heads, tokens, head_dim : int
        Most groups of channels; most rows, and most channels; largest head_dim.
    size, block : int
        Rows and columns of an array; rows, or channels, of a block: a power of two of ``size``.
    runtime_precision : bool
        Whether jobs say how many bits of their activations count.
    selects : bool
        Whether other calls may be index calls.

    Members
    -------
    call : In
        The call that is being worked on.
    q_blocks, kv_blocks : In
        Blocks of a chunk of the activations, and of the weights.
    i : In(stream)
        Its output blocks: :func:`~qkloom.rtl.sequencer.walk.factored_entry`.
    jobs : Out(stream)
        ``to``: lane, ``item``: job.
    rows : Out(stream)
        Blocks of activations to fetch: ``to`` has a bit per lane.
    places : Out(stream)
        Blocks of outputs to keep a place for: ``to`` is the lane.
    tiles : Out(stream)
        Tiles of weights to fetch: ``to`` has a bit per lane.
    busy : Out(1)
        It is on the way through a round.

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
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        runtime_precision: bool = False,
        selects: bool = False,
    ) -> None:
        self._n_lanes, self._slots, self._size = n_lanes, slots, size
        super().__init__(walker_ports(**self.parameters))
        self._tile_bits = ceil_log2(block // size)

    def elaborate(self, platform: object) -> Module:
        """Keep a round's entries in a memory, and what they are compared by in registers."""
        m = Module()
        call, n = self.call, self._n_lanes
        shape = self.i.payload.shape()
        m.submodules.round = memory = Memory(shape=shape, depth=max(n, 2), init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        came = self.i.payload.entry
        now = Signal(shape, reset_less=True)  # the entry that is looked at
        entry = now.entry
        lane = Signal(index(n))
        last_lane = Signal(index(n))
        at_last_lane = Signal()
        fills = Signal(init=1)
        present = Signal(n)
        first_chunk = Signal()
        chunks_left = Signal.like(call.chunks)
        last_chunk = Signal()
        slot = Signal(index(self._slots))
        first_row = Signal.like(self.q_blocks)  # number of the chunk's first block
        first_weight = Signal.like(self.kv_blocks)
        tile = Signal.like(call.d_tiles)
        last_tile = Signal()
        number = Signal.like(entry.first_tile)
        served = Signal(n)
        is_served = Signal()
        mask = Signal(n)
        m.d.comb += [
            self.busy.eq(~fills),
            self.i.ready.eq(fills),
            write.en.eq(fills & self.i.valid),
            write.addr.eq(came.lane),
            write.data.eq(self.i.payload),
            read.addr.eq(lane),
        ]
        m.d.sync += [
            at_last_lane.eq(lane == last_lane),
            last_tile.eq(tile == call.d_tiles - 1),
            is_served.eq(served.bit_select(lane, 1)),
        ]

        # Lanes with the same rows, and with the same channels
        same: dict[str, Signal] = {}
        for name in ("row_block", "head"):
            same[name] = Signal(n, name=f"same_{name}")
            for k in range(n):
                kept = Signal.like(came[name], name=f"{name}_{k}", reset_less=True)
                with m.If(write.en & (came.lane == k)):
                    m.d.sync += kept.eq(came[name])
                m.d.comb += same[name][k].eq(present[k] & (kept == entry[name]))

        job = self.jobs.payload.item
        m.d.comb += [
            self.jobs.payload.to.eq(lane),
            job.gemm.eq(1),
            job.first.eq(first_chunk),
            job.last.eq(last_chunk),
            job.slot.eq(slot),
            job.out_slot.eq(entry.slot),
            job.rows.eq(entry.rows),
            job.keys.eq(call.d_tiles * self._size),
            job.d_tiles.eq(call.d_tiles),
            job.mantissa.eq(now.mantissa),
            job.shift.eq(now.shift),
            self.places.payload.to.eq(lane),
            self.places.payload.index.eq(entry.q_index),
            self.places.payload.tokens.eq(entry.rows),
            self.rows.payload.to.eq(mask),
            self.rows.payload.tokens.eq(entry.rows),
            self.tiles.payload.to.eq(mask),
            self.tiles.payload.tokens.eq(self._size),
        ]
        if "planes" in job.shape().members:
            m.d.comb += job.planes.eq(call.planes)

        has_place = Signal()  # on offer: a register, since the way to who takes it is long
        m.d.comb += self.places.valid.eq(has_place)

        def next_lane(again: str, behind: str) -> None:
            m.d.sync += lane.eq(Mux(at_last_lane, 0, lane + 1))
            m.next = again
            with m.If(at_last_lane):
                m.d.sync += served.eq(0)
                m.next = behind

        with m.FSM():
            with m.State("fill"):
                m.d.sync += [first_chunk.eq(1), chunks_left.eq(call.chunks)]
                m.d.sync += [first_row.eq(0), first_weight.eq(0), lane.eq(0), served.eq(0)]
                m.d.sync += last_lane.eq(came.lane)
                with m.If(self.i.valid):
                    m.d.sync += present.bit_select(came.lane, 1).eq(1)
                    with m.If(came.round_ends):
                        m.d.sync += fills.eq(0)
                        m.next = "read for a job"
            with m.State("read for a job"):
                m.d.sync += [now.eq(read.data), last_chunk.eq(chunks_left == 1)]
                m.next = "job"
            with m.State("job"):
                m.d.comb += self.jobs.valid.eq(1)
                m.d.sync += has_place.eq(self.jobs.ready & first_chunk)
                with m.If(self.jobs.ready):
                    m.next = "place"
            with m.State("place"), m.If(self.places.ready | ~has_place):
                m.d.sync += has_place.eq(0)
                next_lane("read for a job", "read for rows")
            with m.State("read for rows"):
                m.d.sync += now.eq(read.data)
                m.next = "compare rows"
            with m.State("compare rows"):
                m.d.sync += mask.eq(same["row_block"])
                m.d.sync += self.rows.payload.index.eq(first_row + entry.row_block)
                m.next = "rows"
            with m.State("rows"):
                m.d.comb += self.rows.valid.eq(~is_served)
                with m.If(self.rows.ready | is_served):
                    m.d.sync += [served.eq(served | mask), tile.eq(0)]
                    next_lane("read for rows", "read for a tile")
            with m.State("read for a tile"):
                m.d.sync += now.eq(read.data)
                m.next = "compare tiles"
            with m.State("compare tiles"):
                m.d.sync += [mask.eq(same["head"]), number.eq(entry.first_tile + tile)]
                m.next = "number"
            with m.State("number"):
                m.d.sync += [
                    self.tiles.payload.index.eq(first_weight + number[self._tile_bits :]),
                    self.tiles.payload.tile.eq(number[: self._tile_bits]),
                ]
                m.next = "tile"
            with m.State("tile"):
                m.d.comb += self.tiles.valid.eq(~is_served)
                with m.If(self.tiles.ready | is_served):
                    m.d.sync += served.eq(served | mask)
                    next_lane("read for a tile", "next tile")
            with m.State("next tile"):
                m.d.sync += tile.eq(tile + 1)
                m.next = "read for a tile"
                with m.If(last_tile):
                    m.next = "next chunk"
            with m.State("next chunk"):
                m.d.sync += [
                    first_chunk.eq(0),
                    chunks_left.eq(chunks_left - 1),
                    first_row.eq(first_row + self.q_blocks),
                    first_weight.eq(first_weight + self.kv_blocks),
                    slot.eq(Mux(slot == self._slots - 1, 0, slot + 1)),
                ]
                m.next = "read for a job"
                with m.If(last_chunk):
                    m.d.sync += [fills.eq(1), present.eq(0)]
                    m.next = "fill"
        return m
