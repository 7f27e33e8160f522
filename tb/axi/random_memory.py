"""A memory that answers like any AXI memory might: late, in pieces, IDs in any order."""

import random

from amaranth.hdl import Value

__all__ = ["RandomMemory"]


class RandomMemory:
    """Bytes behind the ports of a bus, read and written by simulator processes.

    ``reads`` and ``writes`` list the bursts as (id, address, beats); ``broken`` the rules that a
    manager broke. ``error`` maps an address to the response that its beat gets.
    """

    def __init__(self, *, beat_bytes, seed=0, latency=(1, 30), pace=0.7, error=None):
        self.bytes = {}
        self.beat_bytes = beat_bytes
        self.rng = random.Random(seed)
        self.latency, self.pace = latency, pace
        self.error = error or {}
        self.reads, self.writes, self.broken = [], [], []
        self.n_beats = 0

    def word(self, address):
        return sum(
            self.bytes.get(address + k, (address + k) * 7 & 255) << 8 * k
            for k in range(self.beat_bytes)
        )

    def _check(self, address, beats, burst, size):
        if burst != 1 or 1 << size != self.beat_bytes:
            self.broken.append("burst or size")
        if address // 4096 != (address + beats * self.beat_bytes - 1) // 4096:
            self.broken.append("4 KB")
        if address % self.beat_bytes:
            self.broken.append("alignment")

    def reader(self, bus):
        """Return a process that serves ``ar`` and ``r``."""

        async def process(ctx):
            waiting, cycle, offered = [], 0, False
            ctx.set(bus.ar.ready, 0)
            async for _, _, valid, ready, taken, *address in ctx.tick().sample(
                bus.ar.valid, bus.ar.ready, bus.r.ready, *_address(bus.ar)
            ):
                cycle += 1
                if valid and ready:
                    number, start, length, size, burst = address
                    self._check(start, length + 1, burst, size)
                    self.reads.append((number, start, length + 1))
                    when = cycle + self.rng.randint(*self.latency)
                    waiting.append([number, start, length + 1, when])
                if offered and not taken:
                    self.broken.append("a beat had to wait")
                ctx.set(bus.ar.ready, self.rng.random() < self.pace)
                heads = {}  # the oldest burst of each ID
                for burst_waiting in waiting:
                    heads.setdefault(burst_waiting[0], burst_waiting)
                due = [b for b in heads.values() if b[3] <= cycle]
                offered = bool(due) and self.rng.random() < self.pace
                ctx.set(bus.r.valid, offered)
                if offered:
                    chosen = self.rng.choice(due)
                    number, start, left, _ = chosen
                    ctx.set(bus.r.payload.id, number)
                    ctx.set(bus.r.payload.data, self.word(start))
                    ctx.set(Value.cast(bus.r.payload.resp), self.error.get(start, 0))
                    ctx.set(bus.r.payload.last, left == 1)
                    self.n_beats += 1
                    chosen[1], chosen[2] = start + self.beat_bytes, left - 1
                    if left == 1:
                        waiting.remove(chosen)

        return process

    def writer(self, bus):
        """Return a process that serves ``aw``, ``w`` and ``b``."""

        async def process(ctx):
            bursts, answers, cycle = [], [], 0
            async for _, _, *sampled in ctx.tick().sample(
                bus.aw.valid,
                bus.aw.ready,
                *_address(bus.aw),
                bus.w.valid,
                bus.w.ready,
                bus.w.payload.data,
                bus.w.payload.strb,
                bus.w.payload.last,
                bus.b.valid,
                bus.b.ready,
            ):
                cycle += 1
                valid, ready, number, start, length, size, burst = sampled[:7]
                if valid and ready:
                    self._check(start, length + 1, burst, size)
                    self.writes.append((number, start, length + 1))
                    bursts.append([number, start, length + 1, length + 1])
                w_valid, w_ready, word, strobes, last = sampled[7:12]
                if w_valid and w_ready:
                    if not bursts:
                        self.broken.append("a beat without an address")
                        continue
                    current = bursts[0]
                    for k in range(self.beat_bytes):
                        if strobes >> k & 1:
                            self.bytes[current[1] + k] = word >> 8 * k & 255
                    current[1] += self.beat_bytes
                    current[2] -= 1
                    if last != (current[2] == 0):
                        self.broken.append("last")
                    if current[2] == 0:
                        bursts.pop(0)
                        error = self.error.get(current[1] - self.beat_bytes, 0)
                        answers.append((cycle + self.rng.randint(*self.latency), error, current[0]))
                if sampled[12] and sampled[13]:
                    answers.pop(0)
                if bursts and not w_valid and bursts[0][2] < bursts[0][3]:
                    self.broken.append("a burst waits in the middle")
                ctx.set(bus.aw.ready, self.rng.random() < self.pace)
                ctx.set(bus.w.ready, bool(bursts) and self.rng.random() < self.pace)
                due = bool(answers) and answers[0][0] <= cycle
                ctx.set(bus.b.valid, due)
                if due:
                    ctx.set(Value.cast(bus.b.payload.resp), answers[0][1])
                    ctx.set(bus.b.payload.id, answers[0][2])

        return process


def _address(channel):
    payload = channel.payload
    return [Value.cast(payload[name]) for name in ("id", "addr", "len", "size", "burst")]
