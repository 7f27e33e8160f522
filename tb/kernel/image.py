"""How tensors lie in memory.

A tensor (heads, tokens, head_dim) is cut into blocks of ``block`` tokens, the last one of a head
filled up; blocks are numbered head by head. Block ``g`` is on the tensor's channel ``g % n``, as
number ``g // n`` of those there. Within a block elements are token-major; elements of 4 bits share
a byte, the first one in the low half.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHANNEL_BYTES",
    "Image",
    "factor_table",
    "from_channels",
    "n_bytes",
    "read_bytes",
    "selection_rows",
    "to_channels",
]

Bytes = NDArray[np.uint8]

CHANNEL_BYTES = 1 << 28
"""Bytes of address space of a channel: an HBM2 pseudo-channel of the Alveo U280 (UG1393)."""

PAGE = 4096

_GUARD = 0xA5


class Image:
    """What each channel of a memory holds; buffers lie apart, with guards in between.

    Channel ``c`` has addresses from ``c * CHANNEL_BYTES`` on. Every buffer begins a page, and has
    at least a page of guard bytes before and behind it.

    Parameters
    ----------
    n_channels : int
        Number of channels.
    """

    def __init__(self, n_channels: int) -> None:
        self._ends = [PAGE] * n_channels
        self._contents: list[tuple[int, int, Bytes]] = []  # channel, offset, bytes
        self._outputs: list[tuple[int, int, int]] = []  # channel, offset, number of bytes

    @property
    def sizes(self) -> list[int]:
        """Bytes that each channel needs."""
        return list(self._ends)

    def add(self, channel: int, content: Bytes) -> int:
        """Place an input; return its address."""
        offset = self._take(channel, len(content))
        self._contents.append((channel, offset, content))
        return channel * CHANNEL_BYTES + offset

    def reserve(self, channel: int, size: int) -> int:
        """Place an output; return its address."""
        offset = self._take(channel, size)
        self._outputs.append((channel, offset, size))
        return channel * CHANNEL_BYTES + offset

    def write(self, memory: list[Bytes]) -> None:
        """Write inputs into a memory, and guards everywhere else."""
        for part in memory:
            part[:] = _GUARD
        for channel, offset, content in self._contents:
            memory[channel][offset : offset + len(content)] = content

    def changed(self, memory: list[Bytes]) -> list[int]:
        """Return addresses outside of outputs, a few, that no longer hold what was written."""
        found = []
        for channel, part in enumerate(memory):
            expected = np.full(len(part), _GUARD, np.uint8)
            for at, offset, content in self._contents:
                if at == channel:
                    expected[offset : offset + len(content)] = content
            differs = part != expected
            for at, offset, size in self._outputs:
                if at == channel:
                    differs[offset : offset + size] = False
            found += [channel * CHANNEL_BYTES + int(k) for k in np.flatnonzero(differs)[:8]]
        return found

    def _take(self, channel: int, size: int) -> int:
        offset = self._ends[channel]
        self._ends[channel] = offset + -(-size // PAGE) * PAGE + PAGE
        return offset


def read_bytes(memory: list[Bytes], address: int, size: int) -> Bytes:
    """Return bytes of a memory."""
    channel, offset = divmod(address, CHANNEL_BYTES)
    return memory[channel][offset : offset + size]


def to_channels(
    x: NDArray[Any],
    *,
    block: int,
    n_channels: int,
    width: int = 8,
    places: NDArray[np.int64] | None = None,
) -> list[Bytes]:
    """Return the bytes that each channel holds of a tensor of integers; zeros fill its blocks up.

    Parameters
    ----------
    x : int array (heads, tokens, head_dim)
        The tensor.
    block : int
        Tokens of a block.
    n_channels : int
        Channels that it is spread over.
    width : int
        Bits of an element in memory, 4, 8 or 32.
    places : int array, optional
        Number in memory of each block, as a block table has it; one behind the other if absent.
    """
    heads, tokens, head_dim = x.shape
    per_head = -(-tokens // block)
    padded = np.zeros((heads, per_head * block, head_dim), f"<i{max(width // 8, 1)}")
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
    parts: list[Bytes], *, heads: int, tokens: int, head_dim: int, block: int, width: int = 32
) -> NDArray[np.int64]:
    """Return the outputs (heads, tokens, head_dim) that channels hold, ``width`` bits each."""
    per_head = -(-tokens // block)
    blocks = np.empty((heads * per_head, block * head_dim), np.int64)
    for k, part in enumerate(parts):
        elements = np.ascontiguousarray(part).view(f"<i{width // 8}")
        blocks[k :: len(parts)] = elements.reshape(-1, block * head_dim)
    return blocks.reshape(heads, per_head * block, head_dim)[:, :tokens]


def factor_table(mantissa: NDArray[np.int64], shift: NDArray[np.int64]) -> Bytes:
    """Return the table of score factors: per head mantissa and shift, 32 bits each."""
    table = np.stack([mantissa, shift], axis=-1).astype("<u4")
    return table.reshape(-1).view(np.uint8)


def selection_rows(mask: NDArray[np.bool_], row_bytes: int) -> Bytes:
    """Return a selection (heads, query blocks, KV blocks) in memory: bit b of a row is KV block b.

    Rows lie head by head, ``row_bytes`` apart; zeros fill them up.
    """
    bits = np.packbits(mask.reshape(-1, mask.shape[-1]), axis=-1, bitorder="little")
    return np.pad(bits, ((0, 0), (0, row_bytes - bits.shape[1]))).reshape(-1)
