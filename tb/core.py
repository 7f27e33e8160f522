"""What a host sends to a core, and how it reads the answer: attention as streams."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from ..rtl.core import Core
from .testbench import Expectation, Stall, Stimulus, Testbench, pack, unpack

__all__ = [
    "NEVER",
    "Call",
    "QueryBlock",
    "diagonal",
    "program",
    "read_back",
    "schedule",
    "scoring_program",
]

Ints = NDArray[np.int64]

NEVER = Stall(0.0)
"""The stall of streams that always move."""


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
    n_q, n_kv = call.q.shape[1], call.k.shape[1]
    rounds: list[list[QueryBlock]] = [[]]
    for kv_head in range(len(call.k)):
        begun = len({block.head // call.group for block in rounds[-1]})
        no_room = len(rounds[-1]) + call.group > lanes or begun == key_heads
        if key_heads and rounds[-1] and no_room:
            rounds.append([])
        for first in range(0, n_q, block_rows):
            for head in range(kv_head * call.group, (kv_head + 1) * call.group):
                rows = min(block_rows, n_q - first)
                seen = call.q_start + first + rows if call.causal else n_kv
                keys = min(n_kv, max(seen, 1))
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


def _selected(call: Call, head: int, block: int, n_blocks: int) -> tuple[int, ...]:
    """Return which of the first KV blocks a query block selects: all, without a selection."""
    if call.block_mask is None:
        return tuple(range(n_blocks))
    return tuple(np.flatnonzero(call.block_mask[head, block, :n_blocks]).tolist())


def program(core: Core, call: Call, *, max_cycles: int, stall: Stall = NEVER) -> Testbench:
    """Return the streams that make ``core`` compute ``call``, stalling as ``stall`` says.

    All streams list their contents by round, then by KV block or tile: the order in which no lane
    can wait for another in a circle.
    """
    lane = core.lane_parameters
    rounds = schedule(call, lanes=core.n_lanes, slots=lane["slots"], block_rows=lane["block_rows"])
    tiles = _tiles_of_rounds(rounds, call, **lane)
    contents = {
        "i_job": _jobs(rounds, call, core.i_job.payload.shape()["item"].shape, **lane),
        "i_query": _queries(rounds, call, lane["size"], is_mask=lane["gemm"]),
        "i_key": _tile_rows(call.k, tiles, lane["size"]),
        "i_value": _tile_rows(call.v, tiles, lane["size"]),
    }
    return Testbench(
        inputs={
            name: Stimulus(pack(getattr(core, name).payload.shape(), **fields), stall)
            for name, fields in contents.items()
        },
        outputs={"o": Expectation(count=call.q.size // lane["out_width"], stall=stall)},
        max_cycles=max_cycles,
    )


def scoring_program(core: Core, call: Call, *, max_cycles: int, stall: Stall = NEVER) -> Testbench:
    """Return the streams that make ``core`` score heads' last queries, for what they attend to.

    The call has these queries and all keys, is causal and needs no values; of each head a query
    block is scored. Masses of all heads come at ``o_mass``, heads in the order of their numbers.
    """
    lane = core.lane_parameters
    rounds = schedule(call, lanes=core.n_lanes, slots=lane["slots"], block_rows=lane["block_rows"])
    tiles = _tiles_of_rounds(rounds, call, **lane)
    jobs = _jobs(rounds, call, core.i_job.payload.shape()["item"].shape, **lane)
    contents = {
        "i_job": {**jobs, "item": jobs["item"] | {"scores_only": 1}},
        "i_query": _queries(rounds, call, lane["size"], is_mask=lane["gemm"]),
        "i_key": _tile_rows(call.k, tiles, lane["size"]),
    }
    blocks = -(-call.k.shape[1] // lane["block_rows"])
    values = core.i_value.payload.shape()
    return Testbench(
        inputs={
            name: Stimulus(pack(getattr(core, name).payload.shape(), **fields), stall)
            for name, fields in contents.items()
        }
        | {"i_value": Stimulus(pack(values, **_tile_rows(call.k, tiles[:0], lane["size"])))},
        outputs={
            "o": Expectation(count=0),
            "o_mass": Expectation(count=len(call.q) * blocks, stall=stall),
        },
        max_cycles=max_cycles,
    )


def read_back(core: Core, call: Call, words: NDArray[np.uint32]) -> Ints:
    """Return the outputs, ``Fixed(8, 16)`` as integers, shaped as the queries.

    Parameters
    ----------
    words : uint32 array
        What left ``o``, packed, in whatever order the lanes took turns.
    """
    lane = core.lane_parameters
    beats = unpack(core.o.payload.shape(), words)
    rows_of = [beats["item"]["row"][beats["index"] == n].reshape(-1) for n in range(core.n_lanes)]
    taken = [0] * core.n_lanes
    output = np.empty(call.q.shape, np.int64)
    rounds = schedule(call, lanes=core.n_lanes, slots=lane["slots"], block_rows=lane["block_rows"])
    for block in (block for blocks in rounds for block in blocks):
        rows = output[block.head, block.first : block.first + block.rows]
        start = taken[block.lane]
        taken[block.lane] += rows.size
        rows[:] = rows_of[block.lane][start : start + rows.size].reshape(rows.shape)
    return output


def _jobs(
    rounds: list[list[QueryBlock]],
    call: Call,
    layout: data.StructLayout,
    *,
    size: int,
    block_rows: int,
    tokens: int,
    **_: int,
) -> dict[str, Any]:
    """Return the jobs: in a round the first KV block of all lanes, then the second of all, ..."""
    jobs = []
    for blocks in rounds:
        longest = max(block.keys for block in blocks)
        jobs += [
            (block, first)
            for first in range(0, longest, block_rows)
            for block in blocks
            if block.needs(first, block_rows)
        ]
    item = {
        "first": [first == block.blocks[0] * block_rows for block, first in jobs],
        "last": [first + block_rows >= block.keys for block, first in jobs],
        "slot": [block.slot for block, _ in jobs],
        "rows": [block.rows for block, _ in jobs],
        "d_tiles": call.q.shape[2] // size,
        "causal": [call.causal or block.hidden for block, _ in jobs],
        "diagonal": [
            diagonal(call, block, first, min(block_rows, tokens)) for block, first in jobs
        ],
        "mantissa": [call.mantissa[block.head] for block, _ in jobs],
        "shift": [call.shift[block.head] for block, _ in jobs],
        "keys": [min(block_rows, block.keys - first) for block, first in jobs],
    }
    if "scores_only" in layout.members:
        item["scores_only"] = 0
    if "planes" in layout.members:
        item["planes"] = call.query_bits
    if "gemm" in layout.members:
        item |= {"gemm": 0, "out_slot": 0}
    return {"to": [block.lane for block, _ in jobs], "item": item}


def diagonal(call: Call, block: QueryBlock, first_key: int, most_rows: int) -> int:
    """Return the last key, counted from ``first_key``, that a block's first row may see.

    Of a hidden block it is before the first key by as many as there can be rows.
    """
    return -most_rows if block.hidden else call.q_start + block.first - first_key


def _queries(
    rounds: list[list[QueryBlock]], call: Call, size: int, *, is_mask: bool
) -> dict[str, Any]:
    """Return the rows of each query block, cut into chunks of the array's size.

    Where they go to is a lane's number, or its bit in a mask.
    """
    blocks = [block for blocks in rounds for block in blocks]
    rows = [call.q[b.head, b.first : b.first + b.rows].reshape(-1, size) for b in blocks]
    lanes = [
        np.full(len(r), 1 << b.lane if is_mask else b.lane)
        for b, r in zip(blocks, rows, strict=True)
    ]
    return {"to": np.concatenate(lanes), "item": np.concatenate(rows)}


def _tiles_of_rounds(
    rounds: list[list[QueryBlock]], call: Call, *, size: int, block_rows: int, **_: int
) -> Ints:
    """Return lanes, KV head and number of each tile, in order."""
    return np.array(
        [tile for blocks in rounds for tile in _tiles(blocks, call.group, size, block_rows)]
    )


def _tiles(
    blocks: list[QueryBlock], group: int, size: int, block_rows: int
) -> list[tuple[int, int, int]]:
    """Return lanes (a bit each), KV head and number of each tile that a round needs, in order."""
    sent = []
    for tile in range(-(-max(block.keys for block in blocks) // size)):
        lanes: dict[int, int] = defaultdict(int)
        for block in blocks:
            if block.needs(tile * size, block_rows):
                lanes[block.head // group] |= 1 << block.lane
        sent += [(mask, head, tile) for head, mask in lanes.items()]
    return sent


def _tile_rows(x: NDArray[np.int8], tiles: Ints, size: int) -> dict[str, Any]:
    """Return the rows of tiles (lanes, head, number) of ``x``, the last tile filled with zeros."""
    heads, tokens, head_dim = x.shape
    d_tiles = head_dim // size
    padded = np.zeros((heads, -(-tokens // size) * size, head_dim), np.int8)
    padded[:, :tokens] = x
    by_tile = padded.reshape(heads, -1, size * d_tiles, size)
    lanes, head, number = tiles.T
    rows = by_tile[head, number].reshape(-1, size)
    last = np.arange(len(rows)) % d_tiles == d_tiles - 1
    return {"to": np.repeat(lanes, size * d_tiles), "item": {"row": rows, "last": last}}
