"""AXI: signatures, pins, managers, and a register file."""

from .command import beat_layout, command_layout, data_layout
from .pins import bus_pins, connect_bus_pins
from .read import ReadManager
from .share import ReadShare, WriteShare
from .signature import (
    AXI4,
    AXI4Lite,
    AXI4Read,
    AXI4Stream,
    AXI4Write,
    Burst,
    Response,
)
from .slice import AXISlice
from .write import WriteManager

__all__ = [
    "AXI4",
    "AXI4Lite",
    "AXI4Read",
    "AXI4Stream",
    "AXI4Write",
    "AXISlice",
    "Burst",
    "ReadManager",
    "ReadShare",
    "Response",
    "WriteManager",
    "WriteShare",
    "beat_layout",
    "bus_pins",
    "command_layout",
    "connect_bus_pins",
    "data_layout",
]
