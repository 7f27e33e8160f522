"""What a call moved, and what it waited for."""

from dataclasses import asdict, dataclass
from typing import Any

from ...rtl.kernel.engine import TENSORS
from ...rtl.kernel.kernel import Kernel
from .host import Host
from .simulation import KernelSimulation

__all__ = ["Traffic", "measure_traffic"]


@dataclass(frozen=True)
class Traffic:
    """What moved between kernel and memory since the last reset.

    Members
    -------
    n_bytes : dict
        Bytes by tensor, as the kernel counts them; ``tables`` are what else it read: score factors
        and block table.
    channels : list of dict
        Of each memory channel: bytes ``read`` and ``written``, and its ``occupancy``, the share of
        the cycles in which its port moved a beat of either; the memory's own counters besides.
    stalls : dict
        Cycles of the call in which the core took queries, keys or values (``q``, ``k``, ``v``) and
        there were none, and in which it had outputs and they were not taken (``o``).
    """

    n_bytes: dict[str, int]
    channels: list[dict[str, Any]]
    stalls: dict[str, int]


def measure_traffic(kernel: Kernel, host: Host, simulation: KernelSimulation) -> Traffic:
    """Read the counters of a kernel and of its memory."""
    ports = [simulation.counters[number] for number in range(kernel.n_channels)]
    busy = host.read("busy_cycles")
    n_bytes = {name: host.read(f"{name}_bytes") for name in TENSORS}
    n_bytes["tables"] = sum(port.read_bytes for port in ports) - sum(n_bytes[t] for t in "qkv")
    channels = [
        {
            "read": port.read_bytes,
            "written": port.write_bytes,
            "occupancy": (port.read_beats + port.write_beats) / max(busy, 1),
            **asdict(port),
        }
        for port in ports
    ]
    return Traffic(n_bytes, channels, {name: host.read(f"stall_{name}") for name in TENSORS})
