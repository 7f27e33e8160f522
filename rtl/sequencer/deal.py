"""Dealing query blocks out to lanes."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .call import block_entry, call_layout, n_blocks

__all__ = ["Dealer"]


class Dealer(Component):
    """Cut a call into query blocks, and deal them out to the lanes in turn.

    KV head is outermost, query block in the middle, head of the group innermost: so neighbours in
    a round come from one KV head wherever possible, whose keys and values are then sent once for
    all of them. Five cycles per query block, and as many to begin with as a head has blocks.

    In a call that is ``windowed``, a round is a window: of one KV head, with ``per_lane`` query
    blocks for each lane. They have places instead of lanes and slots, which do not count.

    Rounds of an index call do not cut a KV head in two if its group fits into one, and have
    ``key_heads`` KV heads at most.

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and query blocks that each holds at a time.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    gemm : bool
        Whether a call may be a product of matrices.
    key_heads : int
        Most KV heads in a round of an index call; 0 if there is none.
    per_lane : int
        Query blocks of a lane in a window; 0 if there are no windows.

    Members
    -------
    windowed : In(1)
        With ``per_lane``: the call is dealt out in windows.
    i : In(stream)
        Calls; taken when the last query block has gone.
    o : Out(stream)
        Query blocks: :func:`~qkloom.rtl.sequencer.call.block_entry`.
    q_blocks, kv_blocks : Out
        With ``gemm`` or ``per_lane``, blocks of a head, from its first query block to the next
        call.

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
        gemm: bool = False,
        key_heads: int = 0,
        per_lane: int = 0,
    ) -> None:
        check_count("Number of lanes", n_lanes)
        check_count("Slots", slots)
        if per_lane:
            check_count("Per lane", per_lane, most=slots)
        self._per_lane = per_lane
        if key_heads:
            check_count("Key heads", key_heads)
        self._key_heads = key_heads
        self._n_lanes, self._slots, self._block = n_lanes, slots, block
        self._gemm = gemm
        call = call_layout(
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            gemm=gemm,
            selects=key_heads > 0,
        )
        entry = block_entry(
            n_lanes=n_lanes,
            slots=slots,
            heads=heads,
            tokens=tokens,
            block=block,
            tiles=head_dim // size if gemm else 0,
            per_lane=per_lane,
        )
        # A stride may wrap around as numbers of blocks do; a count, which windows are for, may not.
        counts = range(n_blocks(heads=1, tokens=tokens, block=block) + 1)
        self._n: Any = Shape.cast(counts if per_lane else entry["q_index"].shape)
        n = Out(self._n)
        super().__init__(
            {
                "i": In(stream.Signature(call)),
                "o": Out(stream.Signature(entry)),
                **({"windowed": In(1)} if per_lane else {}),
                **({"q_blocks": n, "kv_blocks": n} if gemm or per_lane else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count blocks, then walk; every sum and comparison has a cycle of its own."""
        m = Module()
        call, entry, block = self.i.payload, self.o.payload, self._block

        # Blocks per head: what a head's number is multiplied by, as a running sum.
        q_blocks, kv_blocks = Signal(self._n), Signal(self._n)
        q_left = Signal(signed(len(call.n_q) + 1))
        kv_left = Signal(signed(len(call.n_kv) + 1))

        kv_head = Signal.like(call.kv_heads)
        member = Signal.like(call.group)  # of the group
        first_member = Signal.like(call.group)  # its head's number
        row_index = Signal.like(entry.q_index)  # of this query block in the group's first head
        rows_left = Signal.like(call.n_q)
        seen = Signal(signed(len(call.q_start) + 1))
        last_member = Signal()
        last_block = Signal()
        last_head = Signal()
        limited = Signal()
        places = [entry.lane, *([entry.place] if self._per_lane else [])]
        last_place, windowed = Signal(), Signal()
        m.d.comb += last_place.eq(places[0] == self._n_lanes - 1)
        if self._per_lane:
            m.d.comb += windowed.eq(self.windowed)
            with m.If(windowed):
                m.d.comb += last_place.eq(places[1] == self._n_lanes * self._per_lane - 1)
        # The next KV head is another round's.
        is_full: Any = self._count_key_heads(m) if self._key_heads else 0

        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += [q_left.eq(call.n_q), kv_left.eq(call.n_kv)]
                m.d.sync += [q_blocks.eq(0), kv_blocks.eq(0)]
                with m.If(self.i.valid):
                    m.next = "count"
            with m.State("count"):
                with m.If(q_left > 0):
                    m.d.sync += [q_left.eq(q_left - block), q_blocks.eq(q_blocks + 1)]
                with m.If(kv_left > 0):
                    m.d.sync += [kv_left.eq(kv_left - block), kv_blocks.eq(kv_blocks + 1)]
                with m.If((q_left <= 0) & (kv_left <= 0)):
                    m.next = "head"
                m.d.sync += [kv_head.eq(1), entry.head.eq(0), first_member.eq(0)]
                m.d.sync += [entry.slot.eq(0), *(place.eq(0) for place in places)]
                m.d.sync += [entry.q_index.eq(0), entry.kv_index.eq(0)]
            with m.State("head"):
                m.d.sync += [
                    row_index.eq(entry.q_index),
                    first_member.eq(entry.head),
                    member.eq(1),
                    rows_left.eq(call.n_q),
                    entry.diagonal.eq(call.q_start),
                    last_head.eq(kv_head == call.kv_heads),
                ]
                m.next = "rows"
            with m.State("rows"):
                m.d.sync += [
                    last_block.eq(rows_left <= block),
                    last_member.eq(member == call.group),
                    entry.rows.eq(Mux(rows_left <= block, rows_left, block)),
                ]
                m.next = "seen"
            with m.State("seen"):
                m.d.sync += seen.eq(entry.diagonal + entry.rows)
                m.d.sync += entry.run_ends.eq(last_place | (last_block & last_member))
                m.next = "limit"
            with m.State("limit"):
                m.d.sync += limited.eq(call.causal & (seen < call.n_kv))
                m.d.sync += entry.round_ends.eq(
                    last_place | (last_block & last_member & (last_head | is_full | windowed))
                )
                if self._per_lane:
                    m.d.sync += entry.head_ends.eq(last_block & last_member)
                m.next = "keys"
            with m.State("keys"):
                # A block that sees nothing still has a job, with a key that its mask hides.
                m.d.sync += entry.keys.eq(Mux(limited, Mux(seen > 0, seen, 1), call.n_kv))
                m.next = "deal"
            with m.State("deal"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [place.eq(place + 1) for place in places]
                    with m.If(entry.round_ends):
                        m.d.sync += [place.eq(0) for place in places]
                        if self._slots > 1:
                            last_slot = entry.slot == self._slots - 1
                            m.d.sync += entry.slot.eq(Mux(last_slot, 0, entry.slot + 1))
                    m.d.sync += [member.eq(member + 1), entry.head.eq(entry.head + 1)]
                    m.d.sync += entry.q_index.eq(entry.q_index + q_blocks)
                    m.next = "rows"
                    with m.If(last_member):
                        m.d.sync += [member.eq(1), entry.head.eq(first_member)]
                        m.d.sync += [row_index.eq(row_index + 1), rows_left.eq(rows_left - block)]
                        m.d.sync += entry.q_index.eq(row_index + 1)
                        m.d.sync += entry.diagonal.eq(entry.diagonal + block)
                        with m.If(last_block):
                            # Behind the last block of the last head comes the next group.
                            m.d.sync += [kv_head.eq(kv_head + 1), entry.head.eq(entry.head + 1)]
                            m.d.sync += entry.q_index.eq(entry.q_index + 1)
                            m.d.sync += entry.kv_index.eq(entry.kv_index + kv_blocks)
                            m.next = "head"
                            with m.If(last_head):
                                m.next = "done"
            with m.State("done"):
                m.d.comb += self.i.ready.eq(1)
                m.next = "idle"
        if self._gemm or self._per_lane:
            with m.If(fsm.ongoing("head")):  # kept while what was dealt is worked on
                m.d.sync += [self.q_blocks.eq(q_blocks), self.kv_blocks.eq(kv_blocks)]
        if self._gemm:
            self._count_tiles(m, fsm, last_member, last_block)
        return m

    def _count_key_heads(self, m: Module) -> Signal:
        """Return, a cycle late, whether a round of an index call has no room for a KV head more."""
        call, entry = self.i.payload, self.o.payload
        count = Signal(range(self._key_heads + 1), init=1)  # of KV heads, with this one
        is_full = Signal()
        ends = entry.lane + call.group >= self._n_lanes
        m.d.sync += is_full.eq(call.selects & (ends | (count == self._key_heads)))
        with m.If(self.i.ready):
            m.d.sync += count.eq(1)
        with m.Elif(self.o.valid & self.o.ready & entry.run_ends):
            m.d.sync += count.eq(Mux(entry.round_ends, 1, count + 1))
        return is_full

    def _count_tiles(self, m: Module, fsm: Any, last_member: Value, last_block: Value) -> None:
        """Give row blocks, and tiles of channels, numbers as heads have them."""
        call, entry = self.i.payload, self.o.payload
        first_tile = Signal.like(entry.first_tile)  # of the group's first head
        next_tile = Signal.like(entry.first_tile)
        m.d.comb += next_tile.eq(entry.first_tile + call.d_tiles)
        with m.If(fsm.ongoing("count")):
            m.d.sync += entry.first_tile.eq(0)
        with m.If(fsm.ongoing("head")):
            m.d.sync += [entry.row_block.eq(0), first_tile.eq(entry.first_tile)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += entry.first_tile.eq(next_tile)
            with m.If(last_member & ~last_block):
                m.d.sync += entry.first_tile.eq(first_tile)
            with m.If(last_member):
                m.d.sync += entry.row_block.eq(entry.row_block + 1)
