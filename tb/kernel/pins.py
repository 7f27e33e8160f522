"""The pins of a kernel: which AXI ports it has, and what they are called."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..design import Design

__all__ = ["BUS", "Bus", "KernelPins", "find_pins"]

# The order is that of BusPin in tb/engines/kernel.cc.
BUS = (
    *("awid", "awaddr", "awlen", "awsize", "awburst", "awvalid", "awready"),
    *("wdata", "wstrb", "wlast", "wvalid", "wready"),
    *("bid", "bresp", "bvalid", "bready"),
    *("arid", "araddr", "arlen", "arsize", "arburst", "arvalid", "arready"),
    *("rid", "rdata", "rresp", "rlast", "rvalid", "rready"),
)
"""Pins of an AXI port that mean something here; an AXI4-Lite port has some of them."""


@dataclass(frozen=True)
class Bus:
    """One AXI port.

    Members
    -------
    name : str
        What the names of its pins begin with: ``m00_axi``.
    widths : mapping
        Bits of each pin of :data:`BUS` that it has.
    """

    name: str
    widths: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of a beat."""
        return self.widths.get("rdata", self.widths.get("wdata", 0)) // 8

    @property
    def id_mask(self) -> int:
        """All ones in an ID."""
        return (1 << self.widths.get("rid", self.widths.get("bid", 0))) - 1


@dataclass(frozen=True)
class KernelPins:
    """The ports of a kernel that its surroundings know.

    Members
    -------
    managers : tuple of Bus
        To memory, in the order of their names.
    control : Bus or None
        To the host, AXI4-Lite.
    interrupt : bool
        Whether there is an ``interrupt``.
    """

    managers: tuple[Bus, ...]
    control: Bus | None
    interrupt: bool


def find_pins(design: Design) -> KernelPins:
    """Find the AXI ports of a kernel by the names of its pins.

    Raises
    ------
    ValueError
        When there is not at most one subordinate, of 32 bits, or an input that belongs to no port.
    """
    ports = {port.name: port for port in design.ports}
    prefixes = [found[1] for n in ports if (found := re.fullmatch(r"(\w+)_a[rw]valid", n))]
    buses = {
        prefix: Bus(
            prefix,
            {pin: ports[f"{prefix}_{pin}"].width for pin in BUS if f"{prefix}_{pin}" in ports},
        )
        for prefix in sorted(set(prefixes))
    }
    subordinates = [
        bus
        for name, bus in buses.items()
        if any(ports[p].is_input for p in (f"{name}_arvalid", f"{name}_awvalid") if p in ports)
    ]
    if len(subordinates) > 1:
        names = ", ".join(bus.name for bus in subordinates)
        raise ValueError(f"A kernel must have one port to its host, and {design.name} has {names}")
    known = {f"{name}_{pin}" for name, bus in buses.items() for pin in bus.widths}
    known |= {"ap_clk", "ap_rst_n"}
    for bus in subordinates:
        known |= {f"{bus.name}_awprot", f"{bus.name}_arprot"}
        if bus.bytes != 4:
            raise ValueError(f"Registers must have 32 bits, and {bus.name} has {8 * bus.bytes}")
    others = [port.name for port in design.ports if port.is_input and port.name not in known]
    if others:
        raise ValueError(f"{design.name} has an input that is no part of AXI: {', '.join(others)}")
    return KernelPins(
        managers=tuple(bus for bus in buses.values() if bus not in subordinates),
        control=subordinates[0] if subordinates else None,
        interrupt="interrupt" in ports,
    )
