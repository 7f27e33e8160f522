"""Walking through the KV blocks of a window."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..cache.store import tile_layout
from ..component import Component
from ..lane.job import index
from .call import call_layout, n_blocks, needed_layout, request_layout
from .select import selected_entries
from .walk import addressed_job

__all__ = ["WindowWalker"]


class WindowWalker(Component):
    """Take the query blocks of a window, and say in which order the core gets what.

    ::

        query blocks --> memory --+
                                  +--> of each KV block: jobs, lane by lane  --> jobs, rows, places
        needed KV blocks ---------+                      tiles, then its end --> tiles

    KV block by KV block, first back through the places: a lane keeps the block from one job of it
    to the next, and a tile is for each lane with a job that sees it. Then a job for each place that
    needs the block, with the query block's rows at its first one, and the place of its outputs at
    its last. Then the block's tiles. All of it is in the one order in which no lane waits for
    another in a circle (see :class:`~qkloom.rtl.core.Core`).

    A KV block takes four cycles for each place, three for each job and two for each tile: less than
    lanes need for a job.

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and query blocks that each holds at a time.
    per_lane : int
        Query blocks of a lane in a window.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    runtime_precision, gemm, scores_only : bool
        What jobs have fields for.

    Members
    -------
    call : In
        The call that is being worked on.
    i : In(stream)
        Its query blocks, with lanes and slots: as they leave a
        :class:`~qkloom.rtl.sequencer.selection.Selection`.
    needed : In(stream)
        KV blocks of each window, and its end: :func:`~qkloom.rtl.sequencer.call.needed_layout`.
    jobs : Out(stream)
        ``to``: lane, ``item``: job.
    rows, places : Out(stream)
        Query blocks to fetch, and to keep a place in memory for, in the order of their last jobs.
    tiles : Out(stream)
        :func:`~qkloom.rtl.cache.store.tile_layout`.
    busy : Out(1)
        It is on the way through a window.

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
        per_lane: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        runtime_precision: bool = False,
        gemm: bool = False,
        scores_only: bool = False,
    ) -> None:
        self._n_lanes, self._places = n_lanes, n_lanes * per_lane
        self._size, self._block, self._tiles = size, block, block // size
        shape: dict[str, Any] = dict(heads=heads, tokens=tokens, head_dim=head_dim, size=size)
        _, entry = selected_entries(
            n_lanes=n_lanes, slots=slots, **shape, block=block, gemm=gemm, per_lane=per_lane
        )
        job = addressed_job(
            n_lanes=n_lanes,
            size=size,
            block_rows=block,
            head_dim=head_dim,
            tokens=tokens,
            slots=slots,
            runtime_precision=runtime_precision,
            gemm=gemm,
            scores_only=scores_only,
            repeats=True,
        )
        most = n_blocks(heads=heads, tokens=tokens, block=block)
        blocks = request_layout(to=range(n_lanes), blocks=most, tiles=1, tokens=block)
        needed = needed_layout(n_lanes=self._places, tokens=tokens, block=block, ends=True)
        super().__init__(
            {
                "call": In(call_layout(**shape, gemm=gemm, selects=scores_only)),
                "i": In(stream.Signature(entry)),
                "needed": In(stream.Signature(needed)),
                "jobs": Out(stream.Signature(job)),
                "rows": Out(stream.Signature(blocks)),
                "places": Out(stream.Signature(blocks)),
                "tiles": Out(stream.Signature(tile_layout(n_lanes=n_lanes))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Go through the places of a window for each KV block: back, and forth."""
        m = Module()
        call, job, needed = self.call, self.jobs.payload.item, self.needed.payload
        shape = self.i.payload.shape()
        m.submodules.window = memory = Memory(shape=shape, depth=max(self._places, 2), init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        found = Signal(shape)  # named, so that it is one view of one signal
        now = Signal(shape, reset_less=True)  # the query block that is looked at
        entry = now.entry
        place = Signal(index(self._places))
        last_place = Signal.like(place)
        needs = Signal(self._places)  # the KV block: a bit for each place
        begun = Signal(self._places)  # who had a job
        keeps = Signal(self._places)  # whose lane has a job more of this KV block
        meets = Signal(self._n_lanes)  # lanes with a job of this KV block, so far
        lane = Signal(self._n_lanes, reset_less=True)  # a bit for that of the query block
        first_key = Signal.like(needed.first_key)
        keys = Signal.like(entry.keys)  # from the block's first one on, that the query block sees
        in_block = Signal(range(self._block + 1))
        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(self.i.payload),
            read.addr.eq(place),
            found.eq(read.data),
            in_block.eq(Mux(keys > self._block, self._block, keys)),
        ]
        is_last = Signal()
        m.d.comb += is_last.eq(keys <= self._block)

        of_query_block = {
            "slot": entry.slot,
            "rows": entry.rows,
            "d_tiles": call.d_tiles,
            "causal": call.causal | now.hidden,
            "mantissa": now.mantissa,
            "shift": now.shift,
            "planes": call.planes,
        }
        is_first = Signal()
        diagonal = Signal.like(job.diagonal)
        m.d.comb += [
            *(job[k].eq(value) for k, value in of_query_block.items() if k in job.shape().members),
            job.first.eq(is_first),
            job.last.eq(is_last),
            job.keys.eq(in_block),
            job.diagonal.eq(diagonal),
            job.keeps.eq(keeps.bit_select(place, 1)),
            self.jobs.payload.to.eq(entry.lane),
        ]
        # Whoever fetches and whoever stores is asked behind a job.
        asks = Signal(2)
        m.d.comb += [self.rows.valid.eq(asks[0]), self.places.valid.eq(asks[1])]
        for source in (self.rows, self.places):
            m.d.comb += [
                source.payload.to.eq(entry.lane),
                source.payload.index.eq(entry.q_index),
                source.payload.tokens.eq(entry.rows),
            ]

        # Keys of the block that each lane sees, from the tile on: those of its last query block,
        # since none before sees more.
        seen = [Signal(range(self._block + 1), name=f"seen_{k}") for k in range(self._n_lanes)]
        sees = Signal(self._n_lanes)
        tile = self.tiles.payload
        is_offered = Signal()
        m.d.comb += [
            sees.eq(Cat(keys_seen.any() for keys_seen in seen)),
            self.tiles.valid.eq(is_offered),
        ]
        fills = Signal(init=1)
        m.d.comb += [
            self.busy.eq(~fills),
            self.i.ready.eq(fills),
            write.en.eq(fills & self.i.valid),
        ]
        at_first_place, at_last_place = Signal(), Signal()
        m.d.comb += [at_first_place.eq(place == 0), at_last_place.eq(place == last_place)]
        is_needed = Signal()
        m.d.comb += is_needed.eq(needs.bit_select(place, 1))

        with m.FSM():
            with m.State("fill"):
                m.d.sync += [last_place.eq(place), begun.eq(0)]
                with m.If(self.i.valid):
                    m.d.sync += place.eq(place + 1)
                    with m.If(self.i.payload.entry.round_ends):
                        m.d.sync += fills.eq(0)
                        m.next = "block"
            with m.State("block"):
                m.d.comb += self.needed.ready.eq(1)
                m.d.sync += [
                    place.eq(last_place),
                    needs.eq(needed.lanes),
                    first_key.eq(needed.first_key),
                    meets.eq(0),
                    *(keys_seen.eq(0) for keys_seen in seen),
                ]
                with m.If(self.needed.valid):
                    m.next = "read back"
                    with m.If(needed.ends):
                        m.d.sync += [place.eq(0), fills.eq(1)]
                        m.next = "fill"
            with m.State("read back"):
                m.d.sync += now.eq(found)
                m.d.sync += lane.eq(1 << found.entry.lane)
                m.next = "subtract back"
            with m.State("subtract back"):
                m.d.sync += keys.eq(entry.keys - first_key)
                m.next = "look back"
            with m.State("look back"):
                m.d.sync += keeps.bit_select(place, 1).eq((meets & lane).any())
                with m.If(is_needed):
                    m.d.sync += meets.eq(meets | lane)
                    for k, keys_seen in enumerate(seen):
                        with m.If(lane[k] & ~meets[k]):
                            m.d.sync += keys_seen.eq(in_block)
                m.d.sync += place.eq(place - 1)
                m.next = "read back"
                with m.If(at_first_place):
                    m.d.sync += place.eq(0)
                    m.next = "read"
            with m.State("read"):
                m.d.sync += [now.eq(found), is_first.eq(~begun.bit_select(place, 1))]
                m.next = "subtract"
                with m.If(~is_needed):
                    m.d.sync += place.eq(place + 1)
                    m.next = "read"
                    with m.If(at_last_place):
                        m.next = "tile"
            with m.State("subtract"):
                m.d.sync += [
                    keys.eq(entry.keys - first_key),
                    diagonal.eq(entry.diagonal - first_key),
                ]
                m.next = "job"
            with m.State("job"):
                m.d.comb += self.jobs.valid.eq(1)
                with m.If(self.jobs.ready):
                    m.d.sync += [
                        begun.bit_select(place, 1).eq(1),
                        asks.eq(Cat(is_first, is_last)),
                    ]
                    m.next = "ask"
            with m.State("ask"):
                m.d.sync += asks.eq(asks & ~Cat(self.rows.ready, self.places.ready))
                with m.If((asks & ~Cat(self.rows.ready, self.places.ready)) == 0):
                    m.d.sync += place.eq(place + 1)
                    m.next = "read"
                    with m.If(at_last_place):
                        m.next = "tile"
            with m.State("tile"):
                m.d.sync += [tile.to.eq(sees), tile.ends.eq(~sees.any()), is_offered.eq(1)]
                for keys_seen in seen:
                    m.d.sync += keys_seen.eq(Mux(keys_seen > self._size, keys_seen - self._size, 0))
                m.next = "offer"
            with m.State("offer"), m.If(self.tiles.ready):
                m.d.sync += is_offered.eq(0)
                m.next = "tile"
                with m.If(tile.ends):
                    m.next = "block"
        return m
