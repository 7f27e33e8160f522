"""Memory behind an AXI bus that answers when it likes, for unit tests."""

import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Value

from ..simulate import from_bits, to_bits
from .check import Sample

__all__ = ["Responder"]

OKAY = 0

HASH = 0x9E37_79B9_7F4A_7C15
"""2**64 over the golden ratio: the upper bits of its multiples are far apart (Knuth, 6.4)."""

WORD = (1 << 64) - 1


@dataclass
class _Burst:
    """A burst that was asked for, and when its first answer may come."""

    id: int
    addr: int
    beats: int
    due: int
    done: int = 0
    resp: int = OKAY


@dataclass
class Responder:
    """Memory of a subordinate: any byte of any address, and no hurry.

    Answers of one ID keep their order; those of different IDs mix, beat by beat. It says of every
    cycle what the subordinate's signals are in the next one, so that any engine can use it.

    Parameters
    ----------
    bus : AXI4, AXI4Read or AXI4Write
        As the manager has it; full-width INCR bursts.
    latency : tuple of int
        Least and most cycles from the end of a request (AR, or the last of AW and W) to its first
        answer; at least 1.
    pace : float
        Probability with which each ready and each answer comes in a cycle.
    w_first : bool
        Whether AW is taken only when W is valid too, as AXI allows.
    errors : mapping
        Response to whatever touches the beat at an address.
    seed : int
        Of all that is random.

    Members
    -------
    written : dict
        Bytes that were written, by address.
    writes : list of tuple
        Address and number of bytes of each beat of which a byte was written, in order.
    reads : list of tuple
        Address and beats of each burst asked for.
    """

    bus: Any
    latency: tuple[int, int] = (1, 1)
    pace: float = 1.0
    w_first: bool = False
    errors: Mapping[int, int] = field(default_factory=dict)
    seed: int = 0
    written: dict[int, int] = field(default_factory=dict)
    writes: list[tuple[int, int]] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._bytes: int = self.bus.beat_bytes
        self._layouts = {
            name: member.signature.members["payload"].shape
            for name, member in self.bus.members.items()
        }
        self._cycle = 0
        self._reading: list[_Burst] = []
        self._writing: deque[_Burst] = deque()  # AW was taken, the last of W was not
        self._beats: deque[tuple[int, int, int]] = deque()  # of W, before their AW
        self._answers: list[_Burst] = []
        self._offers: dict[str, int] = {}  # what is on R and B until it is taken

    def byte(self, address: int) -> int:
        """Return a byte of memory: what was written last, or a hash of its address."""
        if address in self.written:
            return self.written[address]
        mixed = address * HASH & WORD
        return ((mixed ^ mixed >> 29) * HASH & WORD) >> 56

    def beat(self, address: int) -> int:
        """Return a beat of memory."""
        return sum(self.byte(address + k) << 8 * k for k in range(self._bytes))

    def step(self, seen: Sample) -> dict[str, int]:
        """Take note of a cycle, and return what to drive in the next.

        Returns
        -------
        dict
            Of ``ready`` (of AR, AW, W) and of payloads (of R, B) by channel; no payload is an
            answer that is not valid.
        """
        moved = {
            name: from_bits(self._layouts[name], bits)
            for name, (valid, ready, bits) in seen.items()
            if valid and ready
        }
        self._cycle += 1
        for name in ("r", "b"):
            if name in moved:
                self._offers.pop(name)
        if "ar" in moved:
            burst = self._burst(moved["ar"])
            self._reading.append(burst)
            self.reads.append((burst.addr, burst.beats))
        if "aw" in moved:
            self._writing.append(self._burst(moved["aw"]))
        if "w" in moved:
            self._beats.append((moved["w"]["data"], moved["w"]["strb"], moved["w"]["last"]))
        self._write()
        driven = {}
        if "ar" in self._layouts:
            driven["ar"] = self._is_willing()
            self._offer("r", self._reading, self._read)
        if "aw" in self._layouts:
            w_waits = bool(seen["w"][0]) and "w" not in moved
            driven["aw"] = self._is_willing() & (w_waits or bool(self._beats) or not self.w_first)
            driven["w"] = self._is_willing()
            self._offer("b", self._answers, lambda burst: {"id": burst.id, "resp": burst.resp})
        return {**driven, **self._offers}

    def process(self, bus: Any) -> Callable[[Any], Coroutine[Any, Any, None]]:
        """Return a process for :func:`~qkloom.tb.simulate.simulate` that answers on ``bus``."""
        names = list(self._layouts)
        channels = {name: getattr(bus, name) for name in names}
        signals = [
            signal
            for s in channels.values()
            for signal in (s.valid, s.ready, Value.cast(s.payload))
        ]

        async def process(ctx: Any) -> None:
            async for _, _, *values in ctx.tick().sample(*signals):
                cut = zip(values[::3], values[1::3], values[2::3], strict=True)
                seen = dict(zip(names, cut, strict=True))
                driven = self.step(seen)
                for name, channel in channels.items():
                    if name in ("r", "b"):
                        ctx.set(channel.valid, name in driven)
                        # What is not valid is the complement of what was.
                        ctx.set(Value.cast(channel.payload), driven.get(name, ~seen[name][2]))
                    else:
                        ctx.set(channel.ready, driven[name])

        return process

    def _is_willing(self) -> bool:
        return self._rng.random() < self.pace

    def _burst(self, request: Mapping[str, int]) -> _Burst:
        due = self._cycle - 1 + self._rng.randint(*self.latency)
        return _Burst(request["id"], request["addr"], request["len"] + 1, due)

    def _write(self) -> None:
        """Write the beats whose address is known."""
        while self._writing and self._beats:
            burst = self._writing[0]
            data, strb, _ = self._beats.popleft()
            at = burst.addr + burst.done * self._bytes
            burst.done += 1
            burst.resp = burst.resp or self.errors.get(at, OKAY)
            chosen = [k for k in range(self._bytes) if strb >> k & 1]
            self.written |= {at + k: data >> 8 * k & 255 for k in chosen}
            if chosen:
                self.writes.append((at, len(chosen)))
            if burst.done == burst.beats:
                burst.due = self._cycle - 1 + self._rng.randint(*self.latency)
                self._answers.append(self._writing.popleft())

    def _read(self, burst: _Burst) -> dict[str, int] | None:
        """Return the next beat of a burst."""
        at = burst.addr + burst.done * self._bytes
        burst.done += 1
        return {
            "id": burst.id,
            "data": self.beat(at),
            "resp": self.errors.get(at, OKAY),
            "last": int(burst.done == burst.beats),
        }

    def _offer(self, name: str, bursts: list[_Burst], answer: Callable[[_Burst], Any]) -> None:
        """Offer the next answer of some ID, unless one is still on offer."""
        if name in self._offers or not self._is_willing():
            return
        oldest: dict[int, _Burst] = {}
        for burst in bursts:
            oldest.setdefault(burst.id, burst)
        due = [burst for burst in oldest.values() if burst.due <= self._cycle]
        if due:
            burst = self._rng.choice(due)
            self._offers[name] = to_bits(self._layouts[name], answer(burst))
            if name == "b" or burst.done == burst.beats:
                bursts.remove(burst)
