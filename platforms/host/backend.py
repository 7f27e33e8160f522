"""What a platform does for a device, and what it says of a call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ...rtl.kernel.code import Code
from ...tb.kernel.image import Bytes

__all__ = ["Backend", "Status"]


@dataclass(frozen=True)
class Status:
    """What became of a call that was computed.

    Members
    -------
    code : Code or None
        ``OK`` where the kernel was asked; ``None`` where the platform cannot ask it.
    cycles : int or None
        In simulation, from its start, or the end of the call before, until the host has seen its
        interrupt, a register access later at most if it waits; ``None`` on a card.
    """

    code: Code | None
    cycles: int | None


class Backend(Protocol):
    """What a platform does for a device, with arguments that were checked."""

    @property
    def channel_bytes(self) -> int:
        """Bytes of a memory channel."""

    def allocate(self, channel: int, size: int) -> Any:
        """Return the handle of new memory."""

    def part(self, handle: Any, offset: int, size: int) -> Any:
        """Return the handle of a part of it."""

    def free(self, handle: Any) -> None:
        """Give memory back."""

    def write(self, handle: Any, content: Bytes) -> None:
        """Write from its first byte on."""

    def read(self, handle: Any, size: int) -> Bytes:
        """Read from its first byte on."""

    def start(self, arguments: Mapping[str, Any]) -> None:
        """Start a call: handles and numbers by the names of registers."""

    def finish(self, timeout: float | None) -> Status | None:
        """Wait for the oldest call; ``None`` if it goes on. Raise what it failed with."""

    def reset(self) -> None:
        """Drop all calls."""

    def close(self) -> None:
        """Free everything."""
