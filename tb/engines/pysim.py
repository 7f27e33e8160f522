"""The Amaranth simulator: no tools, and slow. Every other engine is measured against it."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Cat, ClockDomain, Fragment, Value
from amaranth.sim import Simulator

from ..monitor import StreamMonitor, Violation
from ..packing import Words
from ..stalls import mix
from .plan import Channel, Plan
from .simulation import Transfers

__all__ = ["PySimulation", "Wires"]

PERIOD = 1e-8


class _Stream:
    """The testbench's end of one stream."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._key = channel.stall.key(channel.name)
        self._threshold, self._burst = channel.stall.threshold, channel.stall.burst
        items = channel.words if channel.is_input and channel.words is not None else ()
        self._items = [int.from_bytes(row.tobytes(), "little") for row in items]
        self._mask = (1 << channel.width) - 1
        self.restart()

    def restart(self) -> None:
        self.taken: list[int] = []
        self.cycles: list[int] = []
        self.first_valid: int | None = None
        self.monitor = StreamMonitor(self.channel.name)
        self._is_offering = False
        self._is_ready = False

    @property
    def is_awaited(self) -> bool:
        return self.channel.count is not None and len(self.cycles) < self.channel.count

    def _is_stalled(self, cycle: int) -> bool:
        return mix(self._key, cycle // self._burst) < self._threshold

    def drive(self, cycle: int | None) -> tuple[int, int]:
        """Return flag and payload to drive; in a reset, which is no cycle, nothing moves."""
        if not self.channel.is_input:
            self._is_ready = cycle is not None and not self._is_stalled(cycle)
            return self._is_ready, 0
        index = len(self.cycles)
        has_item = index < len(self._items)
        if not self._is_offering:
            self._is_offering = has_item and cycle is not None and not self._is_stalled(cycle)
        if self._is_offering:
            return 1, self._items[index]
        return 0, ~self._items[index if has_item else -1] & self._mask if self._items else 0

    def sample(self, cycle: int, flag: int, payload: int) -> None:
        """Take note of ``ready`` of an input, of ``valid`` and the payload of an output."""
        if self.channel.is_input:
            if flag and self._is_offering:
                self._is_offering = False
                self.cycles.append(cycle)
            return
        is_ready = self._is_ready or self.channel.ports.ready is None
        self.monitor.observe(cycle, valid=flag, ready=is_ready, payload=payload)
        if flag and self.first_valid is None:
            self.first_valid = cycle
        if flag and is_ready:
            self.taken.append(payload)
            self.cycles.append(cycle)

    def transfers(self) -> Transfers:
        n_words = self.channel.n_words
        if self.channel.is_input:
            assert self.channel.words is not None
            words = self.channel.words[: len(self.cycles)]
        else:
            raw = b"".join(payload.to_bytes(4 * n_words, "little") for payload in self.taken)
            words = np.frombuffer(raw, np.dtype("<u4")).reshape(len(self.taken), n_words)
        return Transfers(words, np.array(self.cycles, np.uint64), self.first_valid)


class Wires:
    """Signals joined into one, so that the simulator settles once a cycle and not once a signal."""

    def __init__(self, signals: Sequence[Value | None]) -> None:
        self._widths = [0 if signal is None else len(signal) for signal in signals]
        self.all = Cat(signal for signal in signals if signal is not None)

    def join(self, values: Sequence[int]) -> int:
        """Return the bits of all signals, from a value for each; absent ones do not count."""
        total = low = 0
        for width, value in zip(self._widths, values, strict=True):
            if width:
                total |= value << low
                low += width
        return total

    def split(self, total: int, absent: Sequence[int]) -> list[int]:
        """Return a value for each signal, ``absent`` where there is none."""
        values = []
        for width, default in zip(self._widths, absent, strict=True):
            values.append(total & (1 << width) - 1 if width else default)
            total >>= width
        return values


class PySimulation:
    """A design under the Amaranth simulator; see :class:`~.simulation.Simulation`.

    Parameters
    ----------
    plan : Plan
        What to run.
    waves : Path, optional
        VCD file to write.
    """

    def __init__(self, plan: Plan, waves: Path | None = None) -> None:
        self.cycle = 0
        self._plan = plan
        self._streams = [_Stream(channel) for channel in plan.channels]
        self._reset_cycles = 0
        self._clocks = ClockDomain("sync")
        streams = [channel.ports for channel in plan.channels]
        # Of an output the testbench drives `ready` and samples `valid`.
        self._drives = Wires(
            [
                signal
                for s in streams
                for signal in ((s.valid, s.payload) if s.is_input else (s.ready, None))
            ]
        )
        self._samples = Wires(
            [
                signal
                for s in streams
                for signal in ((s.ready, None) if s.is_input else (s.valid, s.payload))
            ]
        )
        # A component may have no clock of its own; and the reset of the one it has is out of reach.
        fragment = Fragment.get(plan.design.component, None)
        fragment.add_domains(self._clocks)
        self._simulator = Simulator(fragment)
        self._simulator.add_clock(PERIOD, domain=self._clocks)
        self._simulator.add_testbench(self._drive)
        self._stack = ExitStack()
        if waves is not None:
            self._stack.enter_context(self._simulator.write_vcd(str(waves)))

    @property
    def n_awaited(self) -> int:
        """Streams of which payloads are still awaited."""
        return sum(stream.is_awaited for stream in self._streams)

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles; all streams begin again."""
        for stream in self._streams:
            stream.restart()
        self._reset_cycles = cycles
        while self._reset_cycles:
            self._simulator.advance()
        self.cycle = 0

    def advance(self, cycles: int, *, to_end: bool = True) -> None:
        """Run so many cycles, or until nothing is awaited any more if ``to_end``."""
        end = self.cycle + cycles
        while self.cycle < end and (self.n_awaited or not to_end):
            before = self.cycle
            while self.cycle == before:
                self._simulator.advance()

    def counts(self) -> Sequence[int]:
        """Return how many payloads have moved since the last reset, by channel of the plan."""
        return [len(stream.cycles) for stream in self._streams]

    def transfers(self) -> Sequence[Transfers]:
        """Return what moved since the last reset, by channel of the plan."""
        return [stream.transfers() for stream in self._streams]

    def violations(self) -> Sequence[Violation]:
        """Return what broke the rules since the last reset."""
        found = [v for stream in self._streams for v in stream.monitor.violations]
        return sorted(found, key=lambda violation: violation.cycle)

    def close(self) -> None:
        """Complete the waves."""
        self._stack.close()

    async def _drive(self, ctx: Any) -> None:
        for name, words in self._plan.levels.items():
            ctx.set(_port(self._plan, name), _integer(words))
        always = [1, 0] * len(self._streams)
        while True:
            in_reset = self._reset_cycles > 0
            ctx.set(self._clocks.rst, in_reset)
            cycle = None if in_reset else self.cycle
            driven = [value for stream in self._streams for value in stream.drive(cycle)]
            ctx.set(self._drives.all, self._drives.join(driven))
            _, _, raw = await ctx.tick(self._clocks).sample(self._samples.all)
            if in_reset:
                self._reset_cycles -= 1
            else:
                sampled = self._samples.split(raw, always)
                for stream, flag, payload in zip(
                    self._streams, sampled[::2], sampled[1::2], strict=True
                ):
                    stream.sample(self.cycle, flag, payload)
                self.cycle += 1
            # What comes next may be a reset: nothing is driven before there has been time to ask.
            await ctx.negedge(self._clocks.clk)


def _port(plan: Plan, name: str) -> Value:
    for path, _, value in plan.design.component.signature.flatten(plan.design.component):
        if "__".join(map(str, path)) == name:
            return Value.cast(value)
    raise KeyError(name)


def _integer(words: Words) -> int:
    return int.from_bytes(words.tobytes(), "little")
