"""A call as a host prepares it: tensors in memory, numbers in registers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ...rtl.sequencer.call import SELECTION_WIDTH, row_words
from ..deal import Call, schedule
from .beats import whole_beats
from .cached import block_bytes, replay_cache
from .image import (
    Bytes,
    Image,
    factor_table,
    from_channels,
    n_bytes,
    read_bytes,
    selection_rows,
    to_channels,
)

__all__ = [
    "SPARSE",
    "Task",
    "place",
    "planned_bytes",
    "planned_selection_bytes",
    "reserve_outputs",
    "row_bytes",
]

SPARSE = 1 << 3
"""The flag that gives a call a selection."""


@dataclass(frozen=True)
class Task:
    """A call in memory.

    Members
    -------
    arguments : dict
        What the host writes into which register.
    outputs : tuple of (int, int)
        Address and bytes of each part of the outputs.
    call : Call
        What is to be computed.
    block : int
        Tokens of a block.
    """

    arguments: dict[str, int]
    outputs: tuple[tuple[int, int], ...]
    call: Call
    block: int

    def result(self, memory: list[Bytes]) -> NDArray[np.int64]:
        """Return the outputs (heads, n_q, head_dim), in units of 2^-16 of the values' scale."""
        heads, n_q, head_dim = self.call.q.shape
        parts = [read_bytes(memory, address, size) for address, size in self.outputs]
        return from_channels(parts, heads=heads, tokens=n_q, head_dim=head_dim, block=self.block)


def place(
    kernel: Kernel,
    call: Call,
    image: Image,
    places: NDArray[np.int64] | None = None,
    selection: int | None = None,
) -> Task:
    """Place a call's tensors and tables in an image of memory.

    Parameters
    ----------
    kernel : Kernel
        Whose memory it is.
    call : Call
        Quantized tensors, and the selection if there is one.
    image : Image
        Gets them.
    places : int array, optional
        Number in memory of each KV block: what the block table says.
    selection : int, optional
        Where the call's selection is, or will be; it is placed if absent.
    """
    given, channels = kernel.parameters, kernel.channels
    block = given["block_rows"]
    arguments: dict[str, int] = {}
    for name, x in (("q", call.q), ("k", call.k), ("v", call.v)):
        parts = to_channels(
            x,
            block=block,
            n_channels=len(channels[name]),
            width=given["stream_width" if name == "q" else "stationary_width"],
            places=None if name == "q" else places,
        )
        for k, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
            arguments[f"{name}_{k}"] = image.add(channel, part)
    heads, n_q, head_dim = call.q.shape
    outputs = reserve_outputs(kernel, image, (heads, n_q, head_dim), 32)
    arguments |= {f"o_{k}": address for k, (address, _) in enumerate(outputs)}
    tables = channels["q"][0]
    arguments["factors"] = image.add(tables, factor_table(call.mantissa, call.shift))
    if places is not None:
        table = places.astype("<u4").view(np.uint8)
        arguments["table"] = image.add(tables, table)
    flags = int(call.causal) | (places is not None) << 1
    if call.block_mask is not None:
        if selection is None:
            rows = selection_rows(call.block_mask, row_bytes(kernel))
            selection = image.add(tables, rows)
        arguments["selection"] = selection
        flags |= SPARSE
    arguments |= {
        "flags": flags,
        "heads": heads,
        "kv_heads": len(call.k),
        "n_q": n_q,
        "n_kv": call.k.shape[1],
        "q_start": call.q_start,
        "head_dim": head_dim,
        "query_bits": call.query_bits,
    }
    return Task(arguments, outputs, call, block)


def reserve_outputs(
    kernel: Kernel, image: Image, shape: tuple[int, int, int], width: int
) -> tuple[tuple[int, int], ...]:
    """Reserve the parts of outputs (heads, tokens, head_dim); return address and bytes of each."""
    heads, tokens, head_dim = shape
    channels = kernel.channels["o"]
    sizes = n_bytes(
        heads=heads,
        tokens=tokens,
        head_dim=head_dim,
        block=kernel.parameters["block_rows"],
        n_channels=len(channels),
        width=width,
    )
    return tuple(
        (image.reserve(channel, size), size) for channel, size in zip(channels, sizes, strict=True)
    )


def row_bytes(kernel: Kernel) -> int:
    """Return how far rows of a selection are apart in memory."""
    given = kernel.parameters
    words = row_words(
        tokens=given["tokens"], block=given["block_rows"], data_width=given["data_width"]
    )
    return words * SELECTION_WIDTH // 8


def planned_bytes(kernel: Kernel, call: Call) -> dict[str, int]:
    """Return the bytes of each tensor that the schedule must move, by its own formula.

    Queries and outputs move once. Keys and values move once for each round that sees them, a round
    being a query block per lane, and for each KV head in it: whole tiles of the array's size up to
    the last key that one of these lanes sees, of the last tile only the tokens that there are.
    Reads are whole beats. With a selection, that is so of each KV block: what none of these lanes
    selects does not move; with a cache, whole KV blocks move where its exact model fetches them.
    """
    given = kernel.parameters
    if given["cache"] and call.block_mask is not None:
        return _planned_with_cache(kernel, call)
    size, block = given["size"], given["block_rows"]
    heads, n_q, head_dim = call.q.shape
    n_kv = call.k.shape[1]

    def beats(tokens: int, width: int) -> int:
        return whole_beats(kernel, tokens * head_dim, width)

    rounds = schedule(call, lanes=len(given["lanes"]), slots=given["slots"], block_rows=block)
    moved = dict.fromkeys("qkvo", 0)
    moved["o"] = heads * n_q * head_dim * 4
    for blocks in rounds:
        moved["q"] += sum(beats(entry.rows, given["stream_width"]) for entry in blocks)
        seen: dict[tuple[int, int], int] = {}  # up to which key, by KV head and block
        for entry in blocks:
            for number in entry.blocks:
                place = entry.head // call.group, number
                seen[place] = max(seen.get(place, 0), min(entry.keys, (number + 1) * block))
        for (_, number), keys in seen.items():
            for first in range(number * block, keys, size):
                tile = beats(min(size, n_kv - first), given["stationary_width"])
                moved["k"] += tile
                moved["v"] += tile
    return moved


def _planned_with_cache(kernel: Kernel, call: Call) -> dict[str, int]:
    """Return the bytes of each tensor of a call whose KV blocks come through the cache."""
    given = kernel.parameters
    block = given["block_rows"]
    heads, n_q, head_dim = call.q.shape
    rows = [min(block, n_q - first) for first in range(0, n_q, block)]
    queries = sum(whole_beats(kernel, n * head_dim, given["stream_width"]) for n in rows)
    made = replay_cache(kernel, call)
    fetched = block_bytes(kernel, call).of(made.visits, made.fetched)
    moved = {"k": fetched // 2, "v": fetched // 2}
    return {"q": heads * queries, **moved, "o": heads * n_q * head_dim * 4}


def planned_selection_bytes(kernel: Kernel, call: Call) -> int:
    """Return the bytes that are read of a call's selection: each row once, or twice with a cache.

    Of a row whole beats are read, up to the last KV block that the query block may see.
    """
    if call.block_mask is None:
        return 0
    given = kernel.parameters
    block: int = given["block_rows"]
    beat: int = given["data_width"]
    n_beats = 0
    for first in range(0, call.q.shape[1], block):
        rows = min(block, call.q.shape[1] - first)
        seen = call.q_start + first + rows if call.causal else call.k.shape[1]
        n_blocks = -(-min(max(seen, 1), call.k.shape[1]) // block)
        n_beats += -(-n_blocks // beat)
    times = 2 if given["cache"] else 1
    return times * len(call.q) * n_beats * beat // 8
