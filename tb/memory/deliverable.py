"""What a memory can deliver at best: a manager that never waits, and counts."""

from typing import Literal

import numpy as np

from .model import ManagerPins, Memory, Request
from .parameters import MemoryModel

__all__ = ["deliverable", "peak_bytes"]

CYCLES = 20_000

WARM_UP = 2_000
"""Cycles before anything is counted, in which buffers fill."""


def peak_bytes(model: MemoryModel, data_width: int) -> float:
    """Return bytes a cycle of a port at a pseudo-channel, by the narrower of the two."""
    return min(data_width / 8, model.bandwidth / model.clock_hz)


def deliverable(
    model: MemoryModel,
    direction: Literal["read", "write"] = "read",
    *,
    data_width: int = 256,
    beats: int = 64,
    cycles: int = CYCLES,
) -> float:
    """Return the share of the peak that a port gets which streams from, or to, a pseudo-channel.

    Refreshes, rows that are opened too late, refusals and gaps take the rest. It is found by
    running the model, under a manager that offers bursts one behind the other and always takes.

    Parameters
    ----------
    model : MemoryModel
        The memory.
    direction : str
        ``read`` or ``write``.
    data_width : int
        Bits of the port.
    beats : int
        Of a burst; at most 4 KB.
    cycles : int
        How many are counted. Refreshes are 1,170 cycles apart at 300 MHz.
    """
    n_bytes = data_width // 8
    if beats * n_bytes > 4096:
        raise ValueError(f"A burst must have at most 4096 bytes, not {beats * n_bytes}")
    # The contents do not matter, only where they are.
    storage = {n: np.zeros(model.storage_bytes, np.uint8) for n in range(1)}
    memory = Memory(model, storage, {"m00_axi": n_bytes})
    size, strobes = n_bytes.bit_length() - 1, (1 << n_bytes) - 1
    reads, writes = int(direction == "read"), int(direction == "write")
    asked = moved = accepted = beat = 0
    begin = model.latency + WARM_UP
    for cycle in range(begin + cycles):
        pins = memory.drive(0, cycle)
        request = Request(asked * beats * n_bytes % model.storage_bytes, 0, beats - 1, size)
        given = ManagerPins(
            arvalid=reads,
            awvalid=writes,
            wvalid=int(writes and accepted > 0),
            rready=1,
            bready=1,
            ar=request,
            aw=request,
            wstrb=strobes,
            wlast=int(beat == beats - 1),
        )
        took = given.wvalid and pins.wready
        moves = took or pins.rvalid
        asks = (given.arvalid and pins.arready) or (given.awvalid and pins.awready)
        memory.sample(0, cycle, given)
        if took:
            beat = (beat + 1) % beats
            accepted -= beat == 0
        accepted += bool(asks and writes)
        asked += bool(asks)
        moved += bool(moves) and cycle >= begin
    return moved * n_bytes / cycles / peak_bytes(model, data_width)
