"""AXI: signatures, pins, managers, and a register file."""

from .pins import bus_pins, connect_bus_pins
from .signature import (
    AXI4,
    AXI4Lite,
    AXI4Read,
    AXI4Stream,
    AXI4Write,
    Burst,
    Response,
)

__all__ = [
    "AXI4",
    "AXI4Lite",
    "AXI4Read",
    "AXI4Stream",
    "AXI4Write",
    "Burst",
    "Response",
    "bus_pins",
    "connect_bus_pins",
]
