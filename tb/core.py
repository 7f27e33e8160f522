"""What a host sends to a core, and how it reads the answer: attention as streams."""

from collections import defaultdict
from typing import Any

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from ..rtl.core import Core
from .deal import Call, QueryBlock, diagonal, schedule, windows
from .testbench import Expectation, Stall, Stimulus, Testbench, pack, unpack

__all__ = [
    "NEVER",
    "program",
    "read_back",
    "scoring_program",
]

Ints = NDArray[np.int64]

NEVER = Stall(0.0)
"""The stall of streams that always move."""


def program(core: Core, call: Call, *, max_cycles: int, stall: Stall = NEVER) -> Testbench:
    """Return the streams that make ``core`` compute ``call``, stalling as ``stall`` says.

    All streams list their contents by round, then by KV block or tile: the order in which no lane
    can wait for another in a circle.
    """
    lane = core.lane_parameters
    rounds = _rounds(core, call)
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
    rounds = _rounds(core, call)
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
    beats = unpack(core.o.payload.shape(), words)
    rows_of = [beats["item"]["row"][beats["index"] == n].reshape(-1) for n in range(core.n_lanes)]
    taken = [0] * core.n_lanes
    output = np.empty(call.q.shape, np.int64)
    for block in (block for blocks in _rounds(core, call) for block in _in_order_of_ends(blocks)):
        rows = output[block.head, block.first : block.first + block.rows]
        start = taken[block.lane]
        taken[block.lane] += rows.size
        rows[:] = rows_of[block.lane][start : start + rows.size].reshape(rows.shape)
    return output


def _rounds(core: Core, call: Call) -> list[list[QueryBlock]]:
    """Return what lanes work on at a time: windows, of a selection for lanes with room for it."""
    lane = core.lane_parameters
    given = {"lanes": core.n_lanes, "slots": lane["slots"], "block_rows": lane["block_rows"]}
    if lane["kv_blocks"] and call.block_mask is not None:
        return windows(call, **given, per_lane=max(lane["slots"] // 2, 1))
    return schedule(call, **given)


def _in_order_of_ends(blocks: list[QueryBlock]) -> list[QueryBlock]:
    """Return the query blocks of a round in the order of their last jobs: that of outputs."""
    return sorted(blocks, key=lambda block: block.blocks[-1])


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
    jobs: list[tuple[QueryBlock, int]] = []
    keeps = []
    for blocks in rounds:
        for first in range(0, max(block.keys for block in blocks), block_rows):
            needing = [block for block in blocks if block.needs(first, block_rows)]
            jobs += [(block, first) for block in needing]
            lanes = [block.lane for block in needing]
            keeps += [lane in lanes[number + 1 :] for number, lane in enumerate(lanes)]
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
    if "keeps" in layout.members:
        item["keeps"] = keeps
    if "scores_only" in layout.members:
        item["scores_only"] = 0
    if "planes" in layout.members:
        item["planes"] = call.query_bits
    if "gemm" in layout.members:
        item |= {"gemm": 0, "out_slot": 0}
    return {"to": [block.lane for block, _ in jobs], "item": item}


def _queries(
    rounds: list[list[QueryBlock]], call: Call, size: int, *, is_mask: bool
) -> dict[str, Any]:
    """Return the rows of each query block, cut into chunks of the array's size.

    Where they go to is a lane's number, or its bit in a mask.
    """
    # A lane takes queries in the order of its query blocks' first jobs.
    blocks = [b for blocks in rounds for b in sorted(blocks, key=lambda b: b.blocks[0])]
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
