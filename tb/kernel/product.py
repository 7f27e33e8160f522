"""A product of matrices as a host prepares it: matrices in memory, numbers in registers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ..gemm import Product, as_heads, from_heads, schedule
from .beats import whole_beats
from .image import Bytes, Image, factor_table, from_channels, read_bytes, to_channels
from .task import reserve_outputs

__all__ = [
    "GEMM",
    "ProductTask",
    "best_side",
    "place_product",
    "planned_product_bytes",
    "product_numbers",
]

GEMM = 1 << 2
"""The flag that makes a call a product."""


@dataclass(frozen=True)
class ProductTask:
    """A product in memory.

    Members
    -------
    arguments : dict
        What the host writes into which register.
    outputs : tuple of (int, int)
        Address and bytes of each part of the outputs.
    product : Product
        What is to be computed.
    block : int
        Rows of a block.
    """

    arguments: dict[str, int]
    outputs: tuple[tuple[int, int], ...]
    product: Product
    block: int

    def result(self, memory: list[Bytes]) -> NDArray[np.int64]:
        """Return the outputs (M, N)."""
        given = self.product
        parts = [read_bytes(memory, address, size) for address, size in self.outputs]
        shape = {"heads": given.groups, "tokens": len(given.x), "head_dim": given.head_dim}
        return from_heads(from_channels(parts, **shape, block=self.block, width=8))


def place_product(kernel: Kernel, product: Product, image: Image) -> ProductTask:
    """Place a product's matrices and factors in an image of memory."""
    given, channels, head_dim = kernel.parameters, kernel.channels, product.head_dim
    block = given["block_rows"]
    arguments: dict[str, int] = {}
    for name, matrix, width in (
        ("q", product.x, given["stream_width"]),
        ("k", product.w, given["stationary_width"]),
    ):
        parts = to_channels(
            as_heads(matrix, head_dim), block=block, n_channels=len(channels[name]), width=width
        )
        for k, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
            arguments[f"{name}_{k}"] = image.add(channel, part)
    arguments |= {f"v_{k}": 0 for k in range(len(channels["v"]))}  # not looked at
    outputs = reserve_outputs(kernel, image, (product.groups, len(product.x), head_dim), 8)
    arguments |= {f"o_{k}": address for k, (address, _) in enumerate(outputs)}
    factors = factor_table(np.asarray(product.mantissa), np.asarray(product.shift))
    arguments["factors"] = image.add(channels["q"][0], factors)
    return ProductTask(arguments | product_numbers(product), outputs, product, block)


def product_numbers(product: Product) -> dict[str, int]:
    """Return what the host writes of a product beside pointers."""
    return {
        "flags": GEMM,
        "heads": product.groups,
        "kv_heads": product.groups // product.side,
        "n_q": len(product.x),
        "n_kv": len(product.w),
        "q_start": 0,
        "head_dim": product.head_dim,
        "query_bits": product.bits,
        "chunks": product.chunks,
    }


def planned_product_bytes(kernel: Kernel, product: Product) -> dict[str, int]:
    """Return the bytes that the schedule must move of activations, weights and outputs.

    Outputs move once. A round is a block of outputs per lane; for each round, every chunk of its
    row blocks moves once, and every chunk of its channels, whatever number of lanes needs them.
    """
    given, head_dim = kernel.parameters, product.head_dim
    moved = {"q": 0, "k": 0, "v": 0, "o": product.x.shape[0] * len(product.w)}
    tile = whole_beats(kernel, given["size"] * head_dim, given["stationary_width"])
    for parts in schedule(
        product, lanes=len(given["lanes"]), slots=given["slots"], block_rows=given["block_rows"]
    ):
        blocks = {part.first: part.rows for part in parts}
        groups = {part.group for part in parts}
        rows = [whole_beats(kernel, n * head_dim, given["stream_width"]) for n in blocks.values()]
        moved["q"] += product.chunks * sum(rows)
        moved["k"] += product.chunks * len(groups) * head_dim // given["size"] * tile
    return moved


def best_side(kernel: Kernel, product: Product) -> int:
    """Return the number of groups side by side that moves the fewest bytes."""
    n_lanes = len(kernel.parameters["lanes"])
    sides = [side for side in range(1, n_lanes + 1) if product.groups % side == 0]

    def moved(side: int) -> int:
        return sum(planned_product_bytes(kernel, replace(product, side=side)).values())

    return min(sides, key=moved)
