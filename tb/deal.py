"""Which lane and slot works on which query block: a model of what the sequencer deals out."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Call", "QueryBlock", "diagonal", "longest_first", "schedule", "windows"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Call:
    """One attention call on quantized tensors.

    Members
    -------
    q : int8 array (heads, n_q, head_dim)
        Queries, within the range of the core's operand; head_dim is a multiple of the array's size.
    k, v : int8 arrays (KV heads, n_kv, head_dim)
        Keys and values; the number of heads is a multiple of that of KV heads.
    mantissa, shift : int arrays (heads,)
        Score factor of each head, ``mantissa / 2**shift``.
    causal : bool
        Query i sees keys up to ``q_start + i``, instead of all.
    q_start : int
        Position of the first query; negative when the first queries see nothing.
    query_bits : int
        Bits that queries have: lanes with runtime precision take a cycle for each.
    block_mask : bool array (heads, query blocks, KV blocks), optional
        The selection: which KV blocks each query block attends to, of those that it sees.
    """

    q: NDArray[np.int8]
    k: NDArray[np.int8]
    v: NDArray[np.int8]
    mantissa: Ints
    shift: Ints
    causal: bool = False
    q_start: int = 0
    query_bits: int = 8
    block_mask: NDArray[np.bool_] | None = None

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return len(self.q) // len(self.k)


@dataclass(frozen=True)
class QueryBlock:
    """Queries ``first`` to ``first + rows - 1`` of a head, on a lane and a slot of it.

    ``keys`` is how many keys the block's last row may see: what lies beyond is never sent.
    ``blocks`` are the KV blocks that it has jobs for, in ascending order; a block that is
    ``hidden`` has one job, of a key that none of its rows sees.
    """

    head: int
    first: int
    rows: int
    keys: int
    lane: int
    slot: int
    blocks: tuple[int, ...]
    hidden: bool = False

    def needs(self, key: int, block_rows: int) -> bool:
        """Tell whether a key is one of those that jobs are of."""
        return key < self.keys and key // block_rows in self.blocks


def schedule(
    call: Call, *, lanes: int, slots: int, block_rows: int, key_heads: int = 0
) -> list[list[QueryBlock]]:
    """Assign query blocks to lanes, in rounds of one block per lane.

    Neighbours in a round come from one KV head wherever possible, so that its keys and values are
    sent once for all of them. In an index call, with ``key_heads``, a round does not cut a KV head
    in two whose group fits into one, and has ``key_heads`` KV heads at most.
    """
    n_q = call.q.shape[1]
    rounds: list[list[QueryBlock]] = [[]]
    for kv_head in range(len(call.k)):
        begun = len({block.head // call.group for block in rounds[-1]})
        no_room = len(rounds[-1]) + call.group > lanes or begun == key_heads
        if key_heads and rounds[-1] and no_room:
            rounds.append([])
        for first in range(0, n_q, block_rows):
            for head in range(kv_head * call.group, (kv_head + 1) * call.group):
                rows = min(block_rows, n_q - first)
                keys = _keys_seen(call, first + rows)
                selected = _selected(call, head, first // block_rows, -(-keys // block_rows))
                keys = min(keys, (selected[-1] + 1) * block_rows) if selected else 1
                if len(rounds[-1]) == lanes:
                    rounds.append([])
                rounds[-1].append(
                    QueryBlock(
                        head=head,
                        first=first,
                        rows=rows,
                        keys=keys,
                        lane=len(rounds[-1]),
                        slot=(len(rounds) - 1) % slots,
                        blocks=selected or (0,),
                        hidden=not selected,
                    )
                )
    return rounds


def windows(
    call: Call, *, lanes: int, slots: int, block_rows: int, per_lane: int
) -> list[list[QueryBlock]]:
    """Assign query blocks to lanes, in windows of ``per_lane`` blocks per lane and of one KV head.

    Of a window, what has most jobs goes first to the lane that has had fewest so far, and has room;
    of equal ones the first. Lanes go on from window to window, and so do their jobs so far. A lane
    gives its slots away in turn. A window lists query blocks in their own order, whichever lane
    they are on, and one that is hidden has all keys of block 0 that it may see: so of a KV block
    nobody sees fewer keys than those before.
    """
    rounds = []
    given, load = [0] * lanes, [0] * lanes
    heads: dict[int, list[QueryBlock]] = {}
    for (block,) in schedule(call, lanes=1, slots=1, block_rows=block_rows):
        heads.setdefault(block.head // call.group, []).append(block)
    for blocks in heads.values():
        for first in range(0, len(blocks), lanes * per_lane):
            window = blocks[first : first + lanes * per_lane]
            placed = []
            lane_of = longest_first([len(block.blocks) for block in window], load, per_lane)
            for block, lane in zip(window, lane_of, strict=True):
                keys = block.keys
                if block.hidden:
                    keys = min(_keys_seen(call, block.first + block.rows), block_rows)
                placed.append(replace(block, lane=lane, slot=given[lane] % slots, keys=keys))
                given[lane] += 1
            rounds.append(placed)
    return rounds


def longest_first(jobs: list[int], load: list[int], most: int) -> list[int]:
    """Return a lane for each of so many jobs, and add them to the lanes' loads."""
    lane_of, count = [0] * len(jobs), [0] * len(load)
    for number in sorted(range(len(jobs)), key=lambda number: -jobs[number]):
        with_room = (lane for lane in range(len(load)) if count[lane] < most)
        lane_of[number] = lane = min(with_room, key=lambda lane: load[lane])
        count[lane] += 1
        load[lane] += jobs[number]
    return lane_of


def _keys_seen(call: Call, end: int) -> int:
    """Return how many keys queries before this one may see: a hidden one if there is none."""
    n_kv: int = call.k.shape[1]
    return min(n_kv, max(call.q_start + end, 1)) if call.causal else n_kv


def _selected(call: Call, head: int, block: int, n_blocks: int) -> tuple[int, ...]:
    """Return which of the first KV blocks a query block selects: all, without a selection."""
    if call.block_mask is None:
        return tuple(range(n_blocks))
    return tuple(np.flatnonzero(call.block_mask[head, block, :n_blocks]).tolist())


def diagonal(call: Call, block: QueryBlock, first_key: int, most_rows: int) -> int:
    """Return the last key, counted from ``first_key``, that a block's first row may see.

    Of a hidden block it is before the first key by as many as there can be rows.
    """
    return -most_rows if block.hidden else call.q_start + block.first - first_key
