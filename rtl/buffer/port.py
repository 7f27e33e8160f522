"""The read port that a buffer offers to the unit that uses it."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["read_port"]


def read_port(*, banks: int, depth: int, shape: object) -> wiring.Signature:
    """Return the signature of a read port, seen from the memory's user.

    ``data`` belongs to the ``bank`` and ``address`` of the cycle before, in which ``en`` was 1.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "bank": Out(range(max(banks, 2))),
            "address": Out(range(max(depth, 2))),
            "data": In(shape),
        }
    )
