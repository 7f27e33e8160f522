"""How tensors lie in memory.

A tensor (heads, tokens, head_dim) is cut into blocks of ``block`` tokens, the last one of a head
filled up; blocks are numbered head by head. Block ``g`` is on the tensor's channel ``g % n``, as
number ``g // n`` of those there. Within a block elements are token-major; elements of 4 bits share
a byte, the first one in the low half.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["factor_table", "from_channels", "n_bytes", "to_channels"]

Bytes = NDArray[np.uint8]


def to_channels(
    x: NDArray[np.int8],
    *,
    block: int,
    n_channels: int,
    width: int = 8,
    places: NDArray[np.int64] | None = None,
) -> list[Bytes]:
    """Return the bytes that each channel holds of a tensor of 8- or 4-bit integers.

    Parameters
    ----------
    x : int8 array (heads, tokens, head_dim)
        The tensor.
    block : int
        Tokens of a block.
    n_channels : int
        Channels that it is spread over.
    width : int
        Bits of an element in memory, 4 or 8.
    places : int array, optional
        Number in memory of each block, as a block table has it; one behind the other if absent.
    """
    heads, tokens, head_dim = x.shape
    per_head = -(-tokens // block)
    padded = np.zeros((heads, per_head * block, head_dim), np.int8)
    padded[:, :tokens] = x
    blocks: Bytes = padded.reshape(heads * per_head, -1).view(np.uint8)
    if width == 4:
        blocks = ((blocks[:, ::2] & 15) | (blocks[:, 1::2] & 15) << 4).astype(np.uint8)
    if places is not None:
        moved = np.zeros((int(places.max()) + 1, blocks.shape[1]), np.uint8)
        moved[places] = blocks
        blocks = moved
    return [np.ascontiguousarray(blocks[k::n_channels]).reshape(-1) for k in range(n_channels)]


def n_bytes(
    *, heads: int, tokens: int, head_dim: int, block: int, n_channels: int, width: int
) -> list[int]:
    """Return how many bytes each channel holds of a tensor."""
    n_blocks = heads * -(-tokens // block)
    of_block = block * head_dim * width // 8
    return [len(range(k, n_blocks, n_channels)) * of_block for k in range(n_channels)]


def from_channels(
    parts: list[Bytes], *, heads: int, tokens: int, head_dim: int, block: int
) -> NDArray[np.int64]:
    """Return the outputs (heads, tokens, head_dim) that channels hold as 32-bit words."""
    per_head = -(-tokens // block)
    blocks = np.empty((heads * per_head, block * head_dim), np.int64)
    for k, part in enumerate(parts):
        words = np.ascontiguousarray(part).view("<i4")
        blocks[k :: len(parts)] = words.reshape(-1, block * head_dim)
    return blocks.reshape(heads, per_head * block, head_dim)[:, :tokens]


def factor_table(mantissa: NDArray[np.int64], shift: NDArray[np.int64]) -> Bytes:
    """Return the table of score factors: per head mantissa and shift, 32 bits each."""
    table = np.stack([mantissa, shift], axis=-1).astype("<u4")
    return table.reshape(-1).view(np.uint8)
