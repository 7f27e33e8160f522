"""Unit tests of stream components in the Amaranth simulator."""

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import ClockDomain, Const, Module, Shape, Value
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["Log", "from_bits", "reader", "simulate", "to_bits"]


def to_bits(shape: Any, value: Any) -> int:
    """Return the bits of one payload: numbers, in lists and mappings as ``shape`` nests them.

    Parameters
    ----------
    shape : shape
        A layout, or the shape of a number.
    value : int, sequence or mapping
        A number loses what its shape does not hold. A struct needs all of its fields.
    """
    if not isinstance(shape, data.Layout):
        width: int = Shape.cast(shape).width
        return int(value) & (1 << width) - 1
    fields = dict(iter(shape))
    keys = set(value) if isinstance(value, Mapping) else set(range(len(value)))
    if keys != set(fields):
        raise TypeError(f"A payload must have the fields {list(fields)}, not {sorted(keys)}")
    return sum(to_bits(f.shape, value[key]) << f.offset for key, f in fields.items())


def from_bits(shape: Any, bits: int) -> Any:
    """Return what :func:`to_bits` was given: integers, lists of them and dictionaries."""
    if isinstance(shape, data.Layout):
        values = {key: from_bits(f.shape, bits >> f.offset) for key, f in shape}
        return list(values.values()) if isinstance(shape, data.ArrayLayout) else values
    shape = Shape.cast(shape)
    low = bits & (1 << shape.width) - 1
    return low - (1 << shape.width) if shape.signed and low >> shape.width - 1 else low


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


Pace = float | Callable[[int], float]


def simulate(
    dut: Any,
    *,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    cycles: int,
    idle: int | None = None,
    pace: Mapping[str, Pace] | None = None,
    seed: int = 0,
    watched: Sequence[str] = (),
    beside: Sequence[Callable[[Any], Coroutine[Any, Any, None]]] = (),
) -> dict[str, Log]:
    """Simulate a component, its input streams fed and its output streams drained.

    An input that offers nothing has the complement of its last payload, so that a component that
    looks at it gives a wrong answer.

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
    idle : int, optional
        End earlier, after so many cycles in which nothing moved.
    pace : mapping, optional
        By stream, the probability that the surroundings offer or take an item in a cycle, or a
        function that gives it for each cycle; 1 unless given. An item once offered stays.
    seed : int
        Seed of the stalls.
    watched : sequence of str
        Streams between others, held to the same rules and logged.
    beside : sequence of functions
        Processes of the simulator, for ports that are no streams: each is called with the
        simulator's context.

    Returns
    -------
    dict
        What happened, by stream.

    Raises
    ------
    AssertionError
        When an output withdraws or changes an item that nobody took.
    """
    streams = {name: _find(dut, name) for name in [*inputs, *outputs, *watched]}
    signals = [
        signal for s in streams.values() for signal in (s.valid, s.ready, Value.cast(s.payload))
    ]
    logs = {name: Log() for name in streams}
    rng = {name: random.Random(f"{seed} {name}") for name in streams}

    def willing(name: str, cycle: int) -> bool:
        limit = (pace or {}).get(name, 1)
        return rng[name].random() < (limit(cycle) if callable(limit) else limit)

    async def drive(ctx: Any) -> None:
        waiting: dict[str, int] = {}  # what each stream offers and nobody took yet
        moved = 0
        for cycle in range(cycles):
            for name in inputs:
                if name in waiting:
                    continue
                s, sent = streams[name], len(logs[name].items)
                if sent < len(inputs[name]) and willing(name, cycle):
                    ctx.set(s.valid, 1)
                    ctx.set(Value.cast(s.payload), inputs[name][sent])
                elif ctx.get(s.valid):
                    ctx.set(s.valid, 0)
                    ctx.set(Value.cast(s.payload), ~inputs[name][sent - 1])
            for name in outputs:
                if not isinstance(streams[name].ready, Const):
                    ctx.set(streams[name].ready, willing(name, cycle))
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
                    moved = cycle
                else:
                    waiting[name] = item
            if idle is not None and cycle - moved >= idle:
                break

    top = Module()  # a component without registers has no clock domain of its own
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    for process in beside:
        simulator.add_process(process)
    simulator.run()
    return logs


def reader(
    pulse: Any, port: Any, places: Sequence[Sequence[tuple[int, int]]], found: list[list[Any]]
) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return a process beside that reads a memory when a stream says that there is something.

    Reads begin in the cycle after the transfer, one a cycle, or follow those of transfers before.

    Parameters
    ----------
    pulse : stream
        Always taken.
    port : read port
        Of :func:`~qkloom.rtl.buffer.port.read_port`.
    places : sequence
        Bank and address of each read, for each transfer.
    found : list
        Gets what each transfer's reads gave: numbers, as of :func:`from_bits`.
    """
    shape = port.signature.members["data"].shape

    async def process(ctx: Any) -> None:
        waiting: list[tuple[int, tuple[int, int]]] = []
        # Which transfer the reads of the last two cycles are for; data come a cycle later.
        before, now = None, None
        async for _, _, valid, word in ctx.tick().sample(pulse.valid, Value.cast(port.data)):
            if before is not None:
                found[before].append(from_bits(shape, word))
            if valid:
                waiting += [(len(found), place) for place in places[len(found)]]
                found.append([])
            before, now = now, None
            if waiting:
                now, (bank, address) = waiting.pop(0)
                ctx.set(port.bank, bank)
                ctx.set(port.address, address)
            ctx.set(port.en, now is not None)

    return process


def _find(dut: Any, name: str) -> Any:
    """Return the stream with the name it has in emitted hardware."""
    found = dut
    for part in name.split("__"):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found
