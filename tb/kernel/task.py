"""A call as a host prepares it: tensors in memory, numbers in registers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ..core import Call, schedule
from .image import Bytes, Image, factor_table, from_channels, n_bytes, read_bytes, to_channels

__all__ = ["Task", "place", "planned_bytes", "reserve_outputs", "whole_beats"]


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
    kernel: Kernel, call: Call, image: Image, places: NDArray[np.int64] | None = None
) -> Task:
    """Place a call's tensors and tables in an image of memory.

    Parameters
    ----------
    kernel : Kernel
        Whose memory it is.
    call : Call
        Quantized tensors.
    image : Image
        Gets them.
    places : int array, optional
        Number in memory of each KV block: what the block table says.
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
    arguments |= {
        "flags": int(call.causal) | (places is not None) << 1,
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


def whole_beats(kernel: Kernel, elements: int, width: int) -> int:
    """Return the bytes of the beats that so many elements of ``width`` bits take."""
    beat: int = kernel.parameters["data_width"]
    return -(-elements * width // beat) * beat // 8


def planned_bytes(kernel: Kernel, call: Call) -> dict[str, int]:
    """Return the bytes of each tensor that the schedule must move, by its own formula.

    Queries and outputs move once. Keys and values move once for each round that sees them, a round
    being a query block per lane, and for each KV head in it: whole tiles of the array's size up to
    the last key that one of these lanes sees, of the last tile only the tokens that there are.
    Reads are whole beats.
    """
    given = kernel.parameters
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
        seen: dict[int, int] = {}
        for entry in blocks:
            head = entry.head // call.group
            seen[head] = max(seen.get(head, 0), entry.keys)
        for keys in seen.values():
            for first in range(0, keys, size):
                tile = beats(min(size, n_kv - first), given["stationary_width"])
                moved["k"] += tile
                moved["v"] += tile
    return moved
