"""Memory of a device, as a program holds it."""

from dataclasses import dataclass
from typing import Any

from ...tb.errors import InputError

__all__ = ["PAGE", "Buffer", "Region"]

PAGE = 4096
"""Bytes to whose multiples buffers and their parts are aligned; a burst never crosses one."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """Bytes in a memory channel: what ``Device.allocate`` and ``Device.part`` return.

    Members
    -------
    channel : int
        Memory channel.
    size : int
        Bytes.
    offset : int
        First byte, from that of the allocation that it is part of.
    allocation : int
        Number of that allocation.
    handle : object
        What the platform knows it by.
    """

    channel: int
    size: int
    offset: int
    allocation: int
    handle: Any

    def overlaps(self, other: "Buffer") -> bool:
        """Return whether two buffers share a byte."""
        begin, end = max(self.offset, other.offset), min(self.end, other.end)
        return self.allocation == other.allocation and begin < end

    @property
    def end(self) -> int:
        """First byte behind it, counted as ``offset`` is."""
        return self.offset + self.size


class Region:
    """The free bytes of a memory channel; those of lower addresses are given first.

    A page stays free before, behind and between buffers: what a kernel writes there can be seen.

    Parameters
    ----------
    size : int
        Bytes of the channel.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Take bytes; return the offset of the first one.

        Raises
        ------
        InputError
            When there is no such gap.
        """
        begin = PAGE
        for first, end in self._taken:
            if first - begin >= size + PAGE:
                break
            begin = -(-end // PAGE) * PAGE + PAGE
        if begin + size + PAGE > self._size:
            raise InputError(
                f"A buffer of {size:,} bytes must fit, in one piece, into what is left of a "
                f"channel's {self._size:,}; free other buffers, or open the device with more"
            )
        self._taken.append((begin, begin + size))
        self._taken.sort()
        return begin

    def give_back(self, offset: int) -> None:
        """Give back what begins at an offset."""
        self._taken = [(first, end) for first, end in self._taken if first != offset]
