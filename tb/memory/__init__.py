"""Memory behind the AXI ports of a kernel: its parameters, its model, and what it counts."""

from .counters import ChannelCounters, PortCounters
from .deliverable import deliverable, peak_bytes
from .parameters import Fault, MemoryModel
from .rules import RULES, AxiViolation

__all__ = [
    "RULES",
    "AxiViolation",
    "ChannelCounters",
    "Fault",
    "MemoryModel",
    "PortCounters",
    "deliverable",
    "peak_bytes",
]
