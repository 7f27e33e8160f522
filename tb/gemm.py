"""A matrix product on the lanes of a core: its exact model, and its streams.

``y = requantize(x w^T factor)``: activations ``x`` (M, K) stream, weights ``w`` (N, K) are
stationary, and each *group* of ``head_dim`` output channels has a factor. The inner dimension is
cut into *chunks* of ``head_dim``. So tensors are what attention has: a chunk of the activations is
a head's queries, a chunk of the weights a head's keys, and a group of the outputs a head's outputs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.core import Core
from ..rtl.formats import Fixed, Integer
from ..rtl.lane.numerics import Numerics
from .core import NEVER
from .formats import Ints, round_shift, saturate
from .lane.reciprocal import align
from .lane.requantize import requantize
from .testbench import Expectation, Stall, Stimulus, Testbench, pack, unpack

__all__ = [
    "Part",
    "Product",
    "as_heads",
    "exact_gemm",
    "from_heads",
    "program",
    "read_back",
    "schedule",
]

FACTOR_SHIFT = 13
"""What a factor's shift lacks: a result is the sum times ``mantissa / 2**(shift + 13)``."""


@dataclass(frozen=True)
class Product:
    """A product of quantized matrices.

    Members
    -------
    x : int8 array (M, K)
        Activations.
    w : int8 array (N, K)
        Weights.
    mantissa, shift : int arrays (N / head_dim,)
        Factor of each group of output channels, ``mantissa / 2**(shift + 13)``; a mantissa has 17
        bits, of which the highest is 1. A shift beyond what the exponent of a row sum can be,
        ``2**Numerics.exponent_width - 1``, counts as that.
    head_dim : int
        Divides K and N: columns of a chunk, and channels of a group.
    side : int
        Groups of output channels that are computed side by side.
    bits : int
        Bits that activations have.
    """

    x: NDArray[np.int8]
    w: NDArray[np.int8]
    mantissa: Ints
    shift: Ints
    head_dim: int
    side: int = 1
    bits: int = 8

    @property
    def chunks(self) -> int:
        """Chunks of the inner dimension."""
        return int(self.x.shape[1] // self.head_dim)

    @property
    def groups(self) -> int:
        """Groups of output channels."""
        return len(self.w) // self.head_dim


@dataclass(frozen=True)
class Part:
    """Outputs of some rows and a group of channels, which a lane sums up in one of its slots."""

    group: int
    first: int
    rows: int
    lane: int
    slot: int


def as_heads(x: NDArray[Any], head_dim: int) -> NDArray[Any]:
    """Return a matrix (rows, columns) as a tensor (columns / head_dim, rows, head_dim)."""
    return x.reshape(len(x), -1, head_dim).swapaxes(0, 1)


def from_heads(x: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor (heads, rows, head_dim) as a matrix (rows, heads * head_dim)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def exact_gemm(product: Product, numerics: Numerics) -> NDArray[np.int8]:
    """Return the outputs (M, N), bit for bit those of a lane."""
    x, w = product.x.astype(np.int64), product.w.astype(np.int64)
    acc = (x @ w.T) << numerics.acc_guard
    most = (1 << numerics.exponent_width) - 1
    mantissa, shift = (
        np.repeat(np.asarray(a, np.int64), product.head_dim)
        for a in (product.mantissa, np.minimum(product.shift, most))
    )
    return requantize(scaled(acc, mantissa, shift)).astype(np.int8)


def scaled(acc: ArrayLike, mantissa: ArrayLike, shift: ArrayLike) -> Ints:
    """Return accumulators by their factor, as raw ``Fixed(8, 16)``: what the normalizer does."""
    aligned = saturate(align(acc, shift), Integer(27))
    quotient = round_shift(aligned * np.asarray(mantissa, np.int64), 19)
    return saturate(quotient, Fixed(Numerics.out_integer, Numerics.out_fraction))


def schedule(product: Product, *, lanes: int, slots: int, block_rows: int) -> list[list[Part]]:
    """Deal parts out to the lanes, in rounds of one for each lane.

    ``side`` groups side by side, innermost; then row blocks; so a round needs few different
    activations and few different weights, which are sent to many lanes at once.
    """
    parts: list[Part] = []
    for first_group in range(0, product.groups, product.side):
        for first in range(0, len(product.x), block_rows):
            for group in range(first_group, min(first_group + product.side, product.groups)):
                rows = min(block_rows, len(product.x) - first)
                turn, lane = divmod(len(parts), lanes)
                parts.append(Part(group, first, rows, lane, turn % slots))
    return [parts[i : i + lanes] for i in range(0, len(parts), lanes)]


def program(core: Core, product: Product, *, max_cycles: int, stall: Stall = NEVER) -> Testbench:
    """Return the streams that make ``core`` compute ``product``, stalling as ``stall`` says."""
    lane = core.lane_parameters
    size, head_dim, block = lane["size"], product.head_dim, lane["block_rows"]
    if head_dim > block:
        raise ValueError(f"Head_dim must be at most a block of {block}, not {head_dim}")
    rounds = schedule(product, lanes=core.n_lanes, slots=lane["slots"], block_rows=block)
    jobs, queries, keys = [], [], []
    turns = [0] * core.n_lanes  # slots of activations alternate
    for parts in rounds:
        for chunk in range(product.chunks):
            inner = slice(chunk * head_dim, (chunk + 1) * head_dim)
            for part in parts:
                jobs.append((part, chunk, turns[part.lane] % lane["slots"]))
                turns[part.lane] += 1
            for first in dict.fromkeys(part.first for part in parts):
                to = sum(1 << part.lane for part in parts if part.first == first)
                queries.append((to, product.x[first : first + block, inner].reshape(-1, size)))
            for tile in range(0, head_dim, size):
                for group in dict.fromkeys(part.group for part in parts):
                    to = sum(1 << part.lane for part in parts if part.group == group)
                    channel = group * head_dim + tile
                    rows = product.w[channel : channel + size, inner]
                    keys.append((to, rows.reshape(-1, size)))
    d_tiles = head_dim // size
    item = {
        "first": [chunk == 0 for _, chunk, _ in jobs],
        "last": [chunk == product.chunks - 1 for _, chunk, _ in jobs],
        "slot": [slot for _, _, slot in jobs],
        "rows": [part.rows for part, _, _ in jobs],
        "d_tiles": d_tiles,
        "causal": 0,
        "diagonal": 0,
        "mantissa": [product.mantissa[part.group] for part, _, _ in jobs],
        "shift": [product.shift[part.group] for part, _, _ in jobs],
        "keys": head_dim,
        "gemm": 1,
        "out_slot": [part.slot for part, _, _ in jobs],
    }
    if "planes" in core.i_job.payload.shape()["item"].shape.members:
        item["planes"] = product.bits
    key_rows = np.concatenate([rows for _, rows in keys])
    contents: dict[str, dict[str, Any]] = {
        "i_job": {"to": [part.lane for part, _, _ in jobs], "item": item},
        "i_query": {
            "to": np.repeat([to for to, _ in queries], [len(rows) for _, rows in queries]),
            "item": np.concatenate([rows for _, rows in queries]),
        },
        "i_key": {
            "to": np.repeat([to for to, _ in keys], [len(rows) for _, rows in keys]),
            "item": {
                "row": key_rows,
                "last": np.arange(len(key_rows)) % d_tiles == d_tiles - 1,
            },
        },
    }
    outputs = len(product.x) * len(product.w)
    return Testbench(
        inputs={
            name: Stimulus(pack(getattr(core, name).payload.shape(), **fields), stall)
            for name, fields in contents.items()
        },
        outputs={"o": Expectation(count=outputs // (4 * lane["out_width"]), stall=stall)},
        max_cycles=max_cycles,
    )


def read_back(core: Core, product: Product, words: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Return the outputs (M, N) out of what left ``o``."""
    lane = core.lane_parameters
    beats = unpack(core.o.payload.shape(), words)
    of_lane = [
        np.ascontiguousarray(beats["item"]["row"][beats["index"] == n].astype("<i4")).view(np.int8)
        for n in range(core.n_lanes)
    ]
    of_lane = [rows.reshape(-1) for rows in of_lane]
    taken = [0] * core.n_lanes
    output = np.empty((len(product.x), len(product.w)), np.int8)
    rounds = schedule(
        product, lanes=core.n_lanes, slots=lane["slots"], block_rows=lane["block_rows"]
    )
    for part in (part for parts in rounds for part in parts):
        channels = slice(part.group * product.head_dim, (part.group + 1) * product.head_dim)
        block = output[part.first : part.first + part.rows, channels]
        start = taken[part.lane]
        taken[part.lane] += block.size
        block[:] = of_lane[part.lane][start : start + block.size].reshape(block.shape)
    return output
