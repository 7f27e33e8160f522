"""Unit tests of stream components in the Amaranth simulator."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator

__all__ = ["Log", "simulate"]


@dataclass
class Log:
    """What happened at one stream.

    Members
    -------
    items : list of int
        Bits of each payload transferred.
    cycles : list of int
        Cycle of each transfer.
    valid_cycles : list of int
        Every cycle in which an item was offered.
    """

    items: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    valid_cycles: list[int] = field(default_factory=list)


def simulate(
    dut: Any,
    *,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    cycles: int,
    pace: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Log]:
    """Simulate a component, its input streams fed and its output streams drained.

    Parameters
    ----------
    dut : component
        One clock domain, ``sync``.
    inputs : mapping
        Bits of the payloads to send, by stream; a stream in an array is ``i__0``.
    outputs : sequence of str
        Streams to take from.
    cycles : int
        Cycles to run. Cycle 0 is the first one after reset.
    pace : mapping, optional
        By stream, the probability that the surroundings offer or take an item in a cycle; 1 unless
        given. An item once offered stays.
    seed : int
        Seed of the stalls.

    Returns
    -------
    dict
        What happened, by stream.

    Raises
    ------
    AssertionError
        When an output withdraws or changes an item that nobody took.
    """
    streams = {name: _find(dut, name) for name in [*inputs, *outputs]}
    signals = [
        signal for s in streams.values() for signal in (s.valid, s.ready, Value.cast(s.payload))
    ]
    logs = {name: Log() for name in streams}
    rng = {name: random.Random(f"{seed} {name}") for name in streams}

    def willing(name: str) -> bool:
        return rng[name].random() < (pace or {}).get(name, 1)

    async def drive(ctx: Any) -> None:
        waiting: dict[str, int] = {}  # what each input or output offers and nobody took yet
        for cycle in range(cycles):
            for name, s in streams.items():
                if name in outputs:
                    ctx.set(s.ready, willing(name))
                elif name not in waiting:
                    sent = len(logs[name].items)
                    offer = sent < len(inputs[name]) and willing(name)
                    ctx.set(s.valid, offer)
                    if offer:
                        ctx.set(Value.cast(s.payload), inputs[name][sent])
            _, _, *sampled = await ctx.tick().sample(*signals)
            for name, valid, ready, item in zip(
                streams, sampled[::3], sampled[1::3], sampled[2::3], strict=True
            ):
                if name in waiting:
                    assert valid, f"{name} withdraws an item in cycle {cycle}"
                    assert item == waiting.pop(name), f"{name} changes its item in cycle {cycle}"
                if not valid:
                    continue
                logs[name].valid_cycles.append(cycle)
                if ready:
                    logs[name].items.append(item)
                    logs[name].cycles.append(cycle)
                else:
                    waiting[name] = item

    top = Module()  # a component without registers has no clock domain of its own
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return logs


def _find(dut: Any, name: str) -> Any:
    """Return the stream with the name it has in emitted hardware."""
    found = dut
    for part in name.split("__"):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found
