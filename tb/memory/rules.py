"""What the pins of a kernel must not do: the rules of AXI that are watched in every cycle."""

from dataclasses import dataclass

__all__ = ["CHANNELS", "RULES", "AxiViolation"]

CHANNELS = ("ar", "aw", "w", "r", "b")
"""The streams of an AXI port, in the order in which both models count them."""

# The order is that of AxiRule in tb/engines/memory.h.
RULES = (
    "withdrew what nobody had taken",  # IHI 0022, A3.2.1
    "changed what nobody had taken",  # A3.2.1
    "crossed a multiple of 4 KB",  # A3.4.1
    "did not increment its addresses",  # legal, and nothing that this memory can do
    "asked for beats wider than the bus",  # A3.4.1
    "ended a burst early",  # A3.4.1
    "did not end a burst",  # A3.4.1
    "had strobes beside its lanes",  # A3.4.3
    "was valid in a reset",  # A3.1.2
    "went where there is no memory",
    "answered what was not asked",  # A3.3.1
)
"""What a stream can be found to have done."""


@dataclass(frozen=True)
class AxiViolation:
    """A rule that a kernel broke.

    Members
    -------
    stream : str
        Port and channel: ``m00_axi ar``.
    rule : str
        One of :data:`RULES`.
    cycle : int
        When.
    address : int
        Where, if the rule is about an access; else 0.
    """

    stream: str
    rule: str
    cycle: int
    address: int = 0

    def __str__(self) -> str:
        where = f" at 0x{self.address:x}" if self.address else ""
        return f"{self.stream} {self.rule}{where}, in cycle {self.cycle}"
