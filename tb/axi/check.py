"""The rules of AXI, watched cycle by cycle."""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Value
from amaranth.lib import wiring

from ...rtl.axi.signature import BOUNDARY, AXI4Lite, Burst, Response
from ..monitor import StreamMonitor
from ..simulate import from_bits

__all__ = ["AXIChecker", "Sample"]

Sample = Mapping[str, tuple[int, int, int]]
"""Of each channel, by name: valid, ready and the bits of the payload, just before an edge."""

FIXED_BEATS = 16
"""Most beats of a burst that is ``FIXED`` (IHI 0022, A3.4.1)."""

FIXED, INCR, WRAP = (int(Const.cast(kind).value) for kind in (Burst.FIXED, Burst.INCR, Burst.WRAP))
EXOKAY = int(Const.cast(Response.EXOKAY).value)


@dataclass
class _Asked:
    """A burst that was asked for, and how much of it came."""

    beats: int
    came: int = 0


class AXIChecker:
    """Watch a bus: what manager and subordinate must keep to.

    ===========================================================  ==================================
    Rule                                                         IHI 0022
    ===========================================================  ==================================
    what is offered stays, unchanged, until it is taken          A3.2.1
    no beat is wider than the bus                                A3.4.1
    no burst crosses 4 KB, is of no kind, or longer than its     A3.4.1
    kind may be
    ``last`` with the last beat of a burst, and with no other    A3.4.1
    no answer to what was not asked; B after AW and all of W     A3.3.1, A5.3
    no exclusive answer, since nothing is exclusive here         A7.2.3
    ===========================================================  ==================================

    R of different IDs may mix, those of one ID are in order of its requests; all of W is in the
    order of AW, and may come before it.

    Parameters
    ----------
    bus : AXI4, AXI4Read, AXI4Write or AXI4Lite
        As the manager has it.

    Members
    -------
    broken : list of str
        What was found so far.
    """

    def __init__(self, bus: wiring.Signature) -> None:
        self._layouts: dict[str, Any] = {
            name: member.signature.members["payload"].shape for name, member in bus.members.items()
        }
        self._beat_bytes: int = bus.beat_bytes
        self._is_lite = isinstance(bus, AXI4Lite)
        self._streams = {name: StreamMonitor(name.upper()) for name in self._layouts}
        self._cycle = 0
        self._reads: dict[int, deque[_Asked]] = {}
        self._writes: deque[tuple[int, int]] = deque()  # ID and beats, of W that is to come
        self._beats = 0  # of W, in the burst that is under way
        self._ended: deque[int] = deque()  # beats of bursts of W that came before their AW
        self._answers: dict[int, int] = {}  # of B, that may come
        self.broken: list[str] = []

    def sample(self, values: Sample) -> list[str]:
        """Take note of one cycle, as it is just before the clock rises.

        Parameters
        ----------
        values : mapping
            :data:`Sample` of every channel of the bus.

        Returns
        -------
        list of str
            Rules that are broken in this cycle, and where.
        """
        found: list[str] = []
        for name, (valid, ready, bits) in values.items():
            stream = self._streams[name]
            before = len(stream.violations)
            stream.observe(self._cycle, valid=valid, ready=ready, payload=bits)
            found += [str(violation) for violation in stream.violations[before:]]
        # Answers first: none answers a request of the same cycle.
        for name in ("r", "b", "w", "ar", "aw"):
            valid, ready, bits = values.get(name, (0, 0, 0))
            if valid and ready:
                item = from_bits(self._layouts[name], bits)
                found += [
                    f"{name.upper()} {rule}, in cycle {self._cycle}"
                    for rule in getattr(self, f"_{name}")(item)
                ]
        self._cycle += 1
        self.broken += found
        return found

    def finish(self) -> list[str]:
        """Return what is still owed when nothing more happens."""
        reads = sum(map(len, self._reads.values()))
        return [
            f"{what} of {n} bursts never came"
            for what, n in {
                "R": reads,
                "W": len(self._writes),
                "AW": len(self._ended) + bool(self._beats and not self._writes),
                "B": sum(self._answers.values()),
            }.items()
            if n
        ]

    def process(self, bus: Any) -> Callable[[Any], Coroutine[Any, Any, None]]:
        """Return a process for :func:`~qkloom.tb.simulate.simulate` that samples ``bus``.

        What it finds is in ``broken``.
        """
        streams = [getattr(bus, name) for name in self._layouts]
        signals = [x for s in streams for x in (s.valid, s.ready, Value.cast(s.payload))]

        async def process(ctx: Any) -> None:
            async for _, _, *values in ctx.tick().sample(*signals):
                cut = zip(values[::3], values[1::3], values[2::3], strict=True)
                self.sample(dict(zip(self._layouts, cut, strict=True)))

        return process

    def _ar(self, item: dict[str, int]) -> list[str]:
        self._reads.setdefault(item.get("id", 0), deque()).append(_Asked(item.get("len", 0) + 1))
        return self._request(item)

    def _aw(self, item: dict[str, int]) -> list[str]:
        found = self._request(item)
        identity, beats = item.get("id", 0), item.get("len", 0) + 1
        if self._ended:
            came = self._ended.popleft()
            self._answers[identity] = self._answers.get(identity, 0) + 1
            if came != beats:
                found.append(f"asks for {beats} beats, of which W had {came}")
            return found
        self._writes.append((identity, beats))
        if self._beats >= beats and len(self._writes) == 1:
            found.append(f"asks for {beats} beats, of which W had {self._beats} without the last")
        return found

    def _request(self, item: dict[str, int]) -> list[str]:
        """Check the address of a burst, and all that is said with it."""
        if self._is_lite:
            return []
        found = []
        beats, size, burst = item["len"] + 1, 1 << item["size"], item["burst"]
        if size > self._beat_bytes:
            found.append(f"has beats of {size} bytes on a bus of {self._beat_bytes}")
        if burst not in (FIXED, INCR, WRAP):
            found.append(f"is a burst of kind {burst}")
        first = item["addr"] // size * size
        if burst == INCR and first % BOUNDARY + beats * size > BOUNDARY:
            found.append(f"crosses {BOUNDARY} bytes with {beats} beats from {item['addr']:#x}")
        if burst == FIXED and beats > FIXED_BEATS:
            found.append(f"is a fixed burst of {beats} beats")
        if burst == WRAP and (beats not in (2, 4, 8, 16) or item["addr"] % size):
            found.append(f"is a wrapping burst of {beats} beats from {item['addr']:#x}")
        return found

    def _w(self, item: dict[str, int]) -> list[str]:
        self._beats += 1
        last = item.get("last", 1)
        if not self._writes:
            if last:
                self._ended.append(self._beats)
                self._beats = 0
            return []
        identity, beats = self._writes[0]
        if not last and self._beats < beats:
            return []
        came, self._beats = self._beats, 0
        self._writes.popleft()
        self._answers[identity] = self._answers.get(identity, 0) + 1
        if not last:
            return [f"has no last with beat {came} of {beats}"]
        return [f"has a last with beat {came} of {beats}"] if came != beats else []

    def _b(self, item: dict[str, int]) -> list[str]:
        identity = item.get("id", 0)
        found = self._response(item)
        if not self._answers.get(identity):
            return [*found, f"answers what ID {identity} has not written"]
        self._answers[identity] -= 1
        return found

    def _r(self, item: dict[str, int]) -> list[str]:
        identity = item.get("id", 0)
        found = self._response(item)
        if not self._reads.get(identity):
            return [*found, f"answers what ID {identity} has not asked for"]
        asked = self._reads[identity][0]
        asked.came += 1
        is_last = asked.came == asked.beats
        if item.get("last", is_last) != is_last:
            word = "no last" if is_last else "a last"
            found.append(f"has {word} with beat {asked.came} of {asked.beats}")
        if is_last or item.get("last"):
            self._reads[identity].popleft()
        return found

    def _response(self, item: dict[str, int]) -> list[str]:
        is_exclusive = item["resp"] == EXOKAY
        return ["answers as to an exclusive access"] if is_exclusive else []
