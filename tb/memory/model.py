"""Memory behind AXI4 ports, cycle by cycle; ``tb/engines/memory.h`` is the same in C++.

In every cycle, for every port, :meth:`Memory.drive` says what the port gets and then
:meth:`Memory.sample` takes note of what the manager does. What is driven follows from the cycles
before alone. Of a write, the data reach the memory when it is answered: a kernel that does not wait
for the answer, or a host that does not wait for the kernel, reads what was there before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..stalls import Stall, mix
from .counters import ChannelCounters, PortCounters
from .dram import ATOM_BITS, Dram
from .parameters import UNITS, Fault, MemoryModel
from .rules import CHANNELS, RULES, AxiViolation

__all__ = [
    "IDLE_BYTE",
    "MAX_VIOLATIONS",
    "ManagerPins",
    "Memory",
    "MemoryPins",
    "Pattern",
    "Request",
    "Violations",
]

IDLE_BYTE = 0xAA
"""What a port shows where there are no data: between two offers, and beside a beat's lanes."""

MAX_VIOLATIONS = 64

OKAY, _, SLVERR, DECERR = range(4)
(
    WITHDREW,
    CHANGED,
    CROSSED,
    NO_INCREMENT,
    TOO_WIDE,
    ENDED_EARLY,
    WENT_ON,
    BESIDE_LANES,
    VALID_IN_RESET,
    OUTSIDE,
    UNASKED,
) = RULES


class Request(NamedTuple):
    """What AR and AW carry."""

    address: int = 0
    id: int = 0
    length: int = 0
    size: int = 0
    burst: int = 1


class ManagerPins(NamedTuple):
    """What a manager drives. Payloads mean something while they are valid only."""

    arvalid: int = 0
    awvalid: int = 0
    wvalid: int = 0
    rready: int = 0
    bready: int = 0
    ar: Request = Request()
    aw: Request = Request()
    wdata: int = 0
    wstrb: int = 0
    wlast: int = 0


@dataclass(slots=True)
class MemoryPins:
    """What the memory drives; an ID of -1 has all bits set."""

    arready: int = 0
    awready: int = 0
    wready: int = 0
    rvalid: int = 0
    bvalid: int = 0
    rid: int = -1
    rdata: int = 0
    rresp: int = DECERR
    rlast: int = 1
    bid: int = -1
    bresp: int = DECERR


class Pattern:
    """A stall pattern of one stream, ready to be asked in every cycle."""

    def __init__(self, stall: Stall, name: str) -> None:
        self._threshold, self._burst, self._key = stall.threshold, stall.burst, stall.key(name)

    def __call__(self, cycle: int) -> bool:
        """Tell whether the stream stalls."""
        return self._threshold > 0 and mix(self._key, cycle // self._burst) < self._threshold


class Violations:
    """The first rules that were broken."""

    def __init__(self) -> None:
        self.found: list[AxiViolation] = []

    def report(self, cycle: int, stream: str, rule: str, address: int = 0) -> None:
        """Take note of one."""
        if len(self.found) < MAX_VIOLATIONS:
            self.found.append(AxiViolation(stream, rule, cycle, address))


class Memory:
    """Memory and its ports.

    Parameters
    ----------
    model : MemoryModel
        What memory it is.
    storage : mapping
        Contents by channel, read and written in place.
    ports : mapping
        Bytes of a beat, by the name of each port.
    """

    def __init__(
        self, model: MemoryModel, storage: Mapping[int, NDArray[np.uint8]], ports: Mapping[str, int]
    ) -> None:
        self.model = model
        self.faults: Sequence[Fault] = model.faults
        self.violations = Violations()
        self.drams: list[Dram] = []
        self._storage = storage
        self._widths = ports
        self.restart()

    def restart(self) -> None:
        """Forget everything but the contents and the faults."""
        self.violations.found.clear()
        timing, n = self.model.timing, self.model.n_channels
        narrow = replace(timing, atom=self.model.atom_of(self.model.narrow_bandwidth))
        self.drams[:] = [
            Dram(
                narrow if channel in self.model.narrow else timing,
                timing.refresh_interval * (channel + 1) // n,
            )
            for channel in range(n)
        ]
        self._ports = [
            _Port(self, name, number, n_bytes)
            for number, (name, n_bytes) in enumerate(self._widths.items())
        ]

    def idle(self, port: int) -> MemoryPins:
        """Return what a port gets in a reset."""
        return self._ports[port].pins

    def drive(self, port: int, cycle: int) -> MemoryPins:
        """Return what a port gets in a cycle."""
        return self._ports[port].drive(cycle)

    def sample(self, port: int, cycle: int, pins: ManagerPins) -> None:
        """Take note of what the manager at a port does in a cycle."""
        self._ports[port].sample(cycle, pins)

    def sample_reset(self, port: int, pins: ManagerPins) -> None:
        """Take note of what the manager at a port does in a reset, after its first edge."""
        name = self._ports[port].name
        for channel, valid in (("ar", pins.arvalid), ("aw", pins.awvalid), ("w", pins.wvalid)):
            if valid:
                self.violations.report(0, f"{name} {channel}", VALID_IN_RESET)

    def port_counters(self) -> list[PortCounters]:
        """Return the counters of each port."""
        return [port.counters for port in self._ports]

    def channel_counters(self) -> list[ChannelCounters]:
        """Return the counters of each pseudo-channel."""
        return [dram.counters for dram in self.drams]

    def locate(self, address: int) -> tuple[int, int] | None:
        """Return channel and offset, or ``None`` where there is no memory."""
        channel, offset = divmod(address, self.model.channel_bytes)
        is_there = channel < self.model.n_channels and offset < self.model.storage_bytes
        return (channel, offset) if is_there else None

    def load(self, low: int, high: int) -> bytes:
        """Return the bytes of a beat."""
        channel, offset = divmod(low, self.model.channel_bytes)
        return self._storage[channel][offset : offset + high - low].tobytes()

    def store(self, base: int, lanes: Sequence[int], values: Sequence[int]) -> None:
        """Write some bytes of a beat."""
        channel, offset = divmod(base, self.model.channel_bytes)
        self._storage[channel][[offset + lane for lane in lanes]] = values


@dataclass(eq=False)
class _Burst:
    """A request on its way."""

    request: Request
    done: int = 0
    response: int = OKAY
    ready: list[int] = field(default_factory=list)
    """When each beat may be offered; of a write, its answer alone."""
    data: list[tuple[int, int]] = field(default_factory=list)
    """Data and strobes of each beat."""


class _Port:
    """One AXI port of a memory."""

    def __init__(self, memory: Memory, name: str, number: int, n_bytes: int) -> None:
        model = memory.model
        self.name = name
        self.counts = dict.fromkeys((field.name for field in fields(PortCounters)), 0)
        self._idle_data = int.from_bytes(bytes([IDLE_BYTE]) * n_bytes, "little")
        self.pins = MemoryPins(rdata=self._idle_data)
        self._memory, self._model, self._number, self._bytes = memory, model, number, n_bytes
        stalls = {"r": model.gaps, "b": model.gaps}
        self._stalls = {c: Pattern(stalls.get(c, model.refusals), f"{name} {c}") for c in CHANNELS}
        self._order_key = model.key(f"{name} order")
        self._delay_key = model.key(f"{name} delay")
        self._reads: list[_Burst] = []
        self._writing: list[_Burst] = []
        self._answers: list[_Burst] = []
        self._reading: _Burst | None = None
        self._answering: _Burst | None = None
        self._draining: list[int] = []
        self._n_writes = 0
        self._waiting: dict[str, tuple[int, ...]] = {}

    @property
    def counters(self) -> PortCounters:
        left = {"reads_left": len(self._reads)}
        left["writes_left"] = len(self._writing) + len(self._answers)
        return PortCounters(**{**self.counts, **left})

    def drive(self, cycle: int) -> MemoryPins:
        pins, model, stalls = self.pins, self._model, self._stalls
        counts = self.counts
        reads_stall = self._is_stuck("read", counts["read_beats"])
        writes_stall = self._is_stuck("write", counts["write_beats"])
        n_writes = len(self._writing) + len(self._answers)
        pins.arready = (
            not reads_stall and len(self._reads) < model.outstanding and not stalls["ar"](cycle)
        )
        pins.awready = not writes_stall and n_writes < model.outstanding and not stalls["aw"](cycle)
        while self._draining and self._draining[0] <= cycle:
            del self._draining[0]
        pins.wready = (
            not writes_stall
            and bool(self._writing)
            and len(self._draining) < model.write_buffer
            and not stalls["w"](cycle)
        )
        if not pins.rvalid and self._reads and not reads_stall and not stalls["r"](cycle):
            self._offer_read(cycle)
        if not pins.bvalid and self._answers and not writes_stall and not stalls["b"](cycle):
            self._offer_answer(cycle)
        return pins

    def sample(self, cycle: int, got: ManagerPins) -> None:
        pins, counts = self.pins, self.counts
        counts["read_pending"] += bool(self._reads)
        counts["write_pending"] += bool(self._writing or self._answers)
        # Offers of before come first: a burst cannot answer in the cycle that asks for it.
        if pins.rvalid:
            if got.rready:
                self._take_read()
            else:
                counts["r_blocked"] += 1
        elif self._reads:
            counts["r_starved"] += 1
        if pins.bvalid:
            if got.bready:
                self._take_answer()
            else:
                counts["b_blocked"] += 1
        if self._writing and not got.wvalid:
            counts["w_starved"] += 1
        beat = (got.wdata, got.wstrb, got.wlast)
        for channel, valid, ready, payload in (
            ("w", got.wvalid, pins.wready, beat),
            ("aw", got.awvalid, pins.awready, got.aw),
            ("ar", got.arvalid, pins.arready, got.ar),
        ):
            held = self._waiting.pop(channel, None)
            if held is not None and not valid:
                self._report(cycle, channel, WITHDREW)
            if held is not None and valid and held != payload:
                self._report(cycle, channel, CHANGED)
            if valid and not ready:
                self._waiting[channel] = payload
                counts[f"{channel}_blocked"] += 1
            if channel == "w" and valid and ready:
                self._write(cycle, got)
        if got.awvalid and pins.awready:
            self._check(cycle, "aw", got.aw)
            self._writing.append(_Burst(got.aw))
            counts["write_bursts"] += 1
        if got.arvalid and pins.arready:
            self._check(cycle, "ar", got.ar)
            self._read(cycle, got.ar)

    def _is_stuck(self, direction: str, beats: int) -> bool:
        return any(
            fault.kind == "stall"
            and self._concerns(fault, direction)
            and fault.beat is not None
            and beats >= fault.beat
            for fault in self._memory.faults
        )

    def _concerns(self, fault: Fault, direction: str) -> bool:
        return fault.port in (None, self._number) and fault.direction in (direction, "both")

    def _fault_at(self, direction: str, beat: int, low: int, high: int) -> int:
        for fault in self._memory.faults:
            if (
                fault.kind != "stall"
                and self._concerns(fault, direction)
                and fault.beat in (None, beat)
                and fault.first < high
                and low <= fault.last
            ):
                return SLVERR if fault.kind == "slverr" else DECERR
        return OKAY

    def _report(self, cycle: int, channel: str, rule: str, address: int = 0) -> None:
        self._memory.violations.report(cycle, f"{self.name} {channel}", rule, address)

    def _span(self, request: Request, beat: int) -> tuple[int, int, int]:
        """Return where the lanes of a beat begin, and the bytes that it transfers."""
        size = min(1 << request.size, self._bytes)
        aligned = (request.address & -size) + beat * size
        return aligned & -self._bytes, aligned if beat else request.address, aligned + size

    def _check(self, cycle: int, channel: str, request: Request) -> None:
        if request.burst != 1:
            self._report(cycle, channel, NO_INCREMENT, request.address)
        if 1 << request.size > self._bytes:
            self._report(cycle, channel, TOO_WIDE, request.address)
        _, _, high = self._span(request, request.length)
        if high - 1 >> 12 != request.address >> 12:
            self._report(cycle, channel, CROSSED, request.address)

    def _schedule(self, cycle: int, burst: _Burst, index: int, *, writes: bool) -> None:
        """Find out when each beat of a burst that was asked for in ``cycle`` may be offered."""
        model, memory, channel = self._model, self._memory, "aw" if writes else "ar"
        key, extra = self._delay_key + writes, 0
        if mix(key, 2 * index) < model.delays.threshold:
            extra = mix(key, 2 * index + 1) % (model.delay_most + 1)
        arrival = end = cycle * UNITS
        last: int | None = None
        all_inside = True
        for beat in range(burst.request.length + 1):
            base, low, high = self._span(burst.request, beat)
            place = memory.locate(base)
            if place is None:
                if all_inside:
                    self._report(cycle, channel, OUTSIDE, low)
                all_inside = False
            else:
                for atom in range(low >> ATOM_BITS, (high - 1 >> ATOM_BITS) + 1):
                    if atom != last:
                        offset = (atom << ATOM_BITS) - base + place[1]
                        end = memory.drams[place[0]].access(offset, arrival, writes=writes)
                        last = atom
            done = max(-(-end // UNITS), cycle + 1)
            burst.ready.append(done - 1 + model.latency + extra)
        if writes:
            del burst.ready[:-1]
            self._draining.append(done)

    def _read(self, cycle: int, request: Request) -> None:
        burst = _Burst(request)
        self._schedule(cycle, burst, self.counts["read_bursts"], writes=False)
        self.counts["read_bursts"] += 1
        self._reads.append(burst)

    def _write(self, cycle: int, got: ManagerPins) -> None:
        burst = self._writing[0]
        base, low, high = self._span(burst.request, burst.done)
        lanes = (1 << high - base) - (1 << low - base)
        is_last = burst.done == burst.request.length
        if got.wstrb & ~lanes:
            self._report(cycle, "w", BESIDE_LANES, low)
        if got.wlast and not is_last:
            self._report(cycle, "w", ENDED_EARLY, low)
        if not got.wlast and is_last:
            self._report(cycle, "w", WENT_ON, low)
        response = DECERR
        if self._memory.locate(base) is not None:
            response = self._fault_at("write", self.counts["write_beats"], low, high)
        burst.response = burst.response or response
        burst.data.append((got.wdata, 0 if response else got.wstrb))
        burst.done += 1
        self.counts["write_beats"] += 1
        self.counts["write_bytes"] += got.wstrb.bit_count()
        if is_last:
            self._schedule(cycle, burst, self._n_writes, writes=True)
            self._n_writes += 1
            self._answers.append(self._writing.pop(0))

    def _choose(self, bursts: Sequence[_Burst], cycle: int, key: int) -> _Burst | None:
        """Return a burst that is ready, of those that are the first ones of their ID."""
        candidates: list[_Burst] = []
        ids: set[int] = set()
        for burst in bursts[:1] if self._model.order == "in order" else bursts:
            if burst.request.id not in ids:
                ids.add(burst.request.id)
                if burst.ready[min(burst.done, len(burst.ready) - 1)] <= cycle:
                    candidates.append(burst)
        if len(candidates) > 1:
            return candidates[mix(key, cycle) % len(candidates)]
        return candidates[0] if candidates else None

    def _offer_read(self, cycle: int) -> None:
        if self._model.order == "bursts" and self._reading is not None:
            burst = self._choose([self._reading], cycle, self._order_key)
        else:
            burst = self._choose(self._reads, cycle, self._order_key)
        if burst is None:
            return
        base, low, high = self._span(burst.request, burst.done)
        response, data = DECERR, self._idle_data
        if self._memory.locate(base) is not None:
            response = self._fault_at("read", self.counts["read_beats"], low, high)
        if response == OKAY:
            lanes = (1 << 8 * (high - base)) - (1 << 8 * (low - base))
            loaded = int.from_bytes(self._memory.load(low, high), "little")
            data = data & ~lanes | loaded << 8 * (low - base)
        pins = self.pins
        pins.rvalid, pins.rid, pins.rdata, pins.rresp = 1, burst.request.id, data, response
        pins.rlast = burst.done == burst.request.length
        self._reading = burst

    def _take_read(self) -> None:
        burst = self._reading
        assert burst is not None
        _, low, high = self._span(burst.request, burst.done)
        self.counts["read_beats"] += 1
        self.counts["read_bytes"] += high - low
        burst.done += 1
        if burst.done > burst.request.length:
            self._reads.remove(burst)
            self._reading = None
        pins = self.pins
        pins.rvalid, pins.rid, pins.rdata, pins.rresp = 0, -1, self._idle_data, DECERR
        pins.rlast = 1

    def _offer_answer(self, cycle: int) -> None:
        burst = self._choose(self._answers, cycle, self._order_key + 1)
        if burst is None:
            return
        for beat, (data, strobes) in enumerate(burst.data):
            base, _, _ = self._span(burst.request, beat)
            lanes = [lane for lane in range(self._bytes) if strobes >> lane & 1]
            if lanes and self._memory.locate(base) is not None:
                self._memory.store(base, lanes, [data >> 8 * lane & 0xFF for lane in lanes])
        self.pins.bvalid, self.pins.bid = 1, burst.request.id
        self.pins.bresp = burst.response
        self._answering = burst

    def _take_answer(self) -> None:
        assert self._answering is not None
        self._answers.remove(self._answering)
        self.pins.bvalid, self.pins.bid, self.pins.bresp = 0, -1, DECERR
