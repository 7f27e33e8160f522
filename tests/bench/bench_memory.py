"""What the memory model can deliver, and what it costs a simulation."""

import time
from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Module, Mux, Signal

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4, ReadManager, WriteManager, bus_pins, connect_bus_pins
from qkloom.rtl.component import Component
from qkloom.tb.kernel import start_kernel
from qkloom.tb.memory import MemoryModel, deliverable, peak_bytes

BEATS, LATENCY = 64, 100
MEASURED = 425 / 460
"""Share of the peak that Shuhai (arXiv 2005.04324) measured on a U280."""


class Streamer(Component):
    """Ports that read, or write, one burst of 64 beats after the other, each in a channel."""

    def __init__(self, *, n_ports: int, data_width: int, writes: bool, channel_bits: int = 28):
        self._bus = AXI4(data_width=data_width)
        self._n_ports, self._writes, self._channel_bits = n_ports, writes, channel_bits
        super().__init__(
            {k: v for n in range(n_ports) for k, v in bus_pins(f"m{n:02}_axi", self._bus).items()}
        )

    def elaborate(self, platform: Any) -> Module:
        """Offer requests and data always, and take always."""
        m = Module()
        awake = Signal()  # in a reset nothing is offered
        m.d.sync += awake.eq(1)
        for n in range(self._n_ports):
            bus = self._bus.create()
            connect_bus_pins(m, self, f"m{n:02}_axi", bus)
            address = bus.aw if self._writes else bus.ar
            offset = Signal(20, name=f"offset_{n}")
            beat = Signal(range(BEATS), name=f"beat_{n}")
            started = Signal(8, name=f"started_{n}")
            seen = Signal(self._bus.data_width, name=f"seen_{n}")
            m.d.comb += [
                address.valid.eq(awake & (started < 200)),
                address.payload.addr.eq((n << self._channel_bits) + offset),
                address.payload.len.eq(BEATS - 1),
                address.payload.size.eq(self._bus.beat_bits),
                address.payload.burst.eq(1),
                bus.w.valid.eq(int(self._writes) & (started != 0)),
                bus.w.payload.data.eq(seen),
                bus.w.payload.strb.eq(~0),
                bus.w.payload.last.eq(beat == BEATS - 1),
                bus.r.ready.eq(1),
                bus.b.ready.eq(1),
            ]
            begins, ends = Signal(name=f"begins_{n}"), Signal(name=f"ends_{n}")
            m.d.comb += begins.eq(address.valid & address.ready)
            m.d.sync += started.eq(started + begins - ends)
            with m.If(begins):
                m.d.sync += offset.eq(offset + BEATS * self._bus.beat_bytes)
            if self._writes:
                moves = bus.w.valid & bus.w.ready
                m.d.comb += ends.eq(moves & bus.w.payload.last)
            else:
                moves = bus.r.valid
                m.d.comb += ends.eq(moves & bus.r.payload.last)
            with m.If(moves):
                m.d.sync += seen.eq(seen + 1 if self._writes else seen ^ bus.r.payload.data)
                m.d.sync += beat.eq(Mux(beat == BEATS - 1, 0, beat + 1))
        return m


class Managed(Component):
    """A read or a write manager that is told to move one half of 16 MB after the other."""

    def __init__(self, *, data_width: int, writes: bool):
        self._bus = AXI4(data_width=data_width)
        self._writes = writes
        super().__init__(bus_pins("m00_axi", self._bus))

    def elaborate(self, platform: Any) -> Module:
        """Offer commands and data always, and take always."""
        m = Module()
        beats = 1024
        kind = WriteManager if self._writes else ReadManager
        m.submodules.manager = manager = kind(
            data_width=self._bus.data_width, longest=beats, burst=BEATS
        )
        connect_bus_pins(m, self, "m00_axi", manager.bus)
        awake = Signal()
        offset = Signal(23)
        m.d.sync += awake.eq(1)
        m.d.comb += [
            manager.i.valid.eq(awake),
            manager.i.payload.addr.eq(offset),
            manager.i.payload.beats.eq(beats),
        ]
        with m.If(manager.i.valid & manager.i.ready):
            m.d.sync += offset.eq(offset + beats * self._bus.beat_bytes)
        if self._writes:
            m.d.comb += [manager.data.valid.eq(awake), manager.data.payload.strb.eq(~0)]
        else:
            seen = Signal(self._bus.data_width)
            m.d.comb += manager.o.ready.eq(1)
            m.d.sync += seen.eq(seen ^ manager.o.payload.data)
        return m


def delivered(model: MemoryModel, data_width: int, *, writes: bool) -> float:
    """Return the share of the peak that a manager gets, after its first 2,000 cycles."""
    design = emit(Managed(data_width=data_width, writes=writes))
    with start_kernel(design, model) as kernel:
        counts = []
        for cycles in (2_000 + model.latency, 20_000):
            kernel.run(cycles)
            port = kernel.counters[0]
            counts.append(port.write_beats if writes else port.read_beats)
        if kernel.violations:
            raise SystemExit(f"The streamer breaks rules: {kernel.violations[0]}")
    return (counts[1] - counts[0]) * data_width / 8 / 20_000 / peak_bytes(model, data_width)


def overhead(n_ports: int, *, writes: bool, stuck: bool = False) -> float:
    """Return microseconds a cycle of a design that is hardly there, its ports moving a beat."""
    design = emit(Streamer(n_ports=n_ports, data_width=256, writes=writes))
    with start_kernel(design, MemoryModel(latency=10**9 if stuck else LATENCY)) as kernel:
        kernel.run(10_000)
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            kernel.run(200_000)
            seconds.append(time.perf_counter() - begin)
    return min(seconds) / 200_000 * 1e6


def rows() -> Iterator[dict]:
    """Measure bandwidth by clock and width, then time."""
    for clock, width in ((175, 256), (300, 256), (300, 512), (450, 256)):
        model = MemoryModel(clock_hz=clock * 1_000_000, latency=LATENCY)
        peak = peak_bytes(model, width) * clock / 1000
        for direction in ("read", "write"):
            best = deliverable(model, direction, data_width=width, beats=BEATS)
            got = delivered(model, width, writes=direction == "write")
            where = f"{BEATS}-beat bursts, {LATENCY} cycles latency, peak {peak:.2f} GB/s"
            name = f"{direction}, {width} bits at {clock} MHz"
            yield {
                "name": f"deliverable, {name}",
                "value": best,
                "unit": "",
                "asked": None,
                "better": "more",
                "how": f"the model alone; {where}",
            }
            yield {
                "name": f"delivered to a manager, {name}",
                "value": got,
                "unit": "",
                "asked": 0.95 * best,
                "better": "more",
                "how": f"a manager of rtl/axi, cxxrtl; asked: 95 % of deliverable; {where}",
            }
            if clock == 450:
                yield {
                    "name": f"deliverable less measured, {direction}",
                    "value": abs(best - MEASURED),
                    "unit": "",
                    "asked": 0.02,
                    "better": "less",
                    "how": f"Shuhai measured 425 of 460 GB/s on a U280: {MEASURED:.4f}",
                }
    for n_ports in (1, 2, 4):
        for writes in (False, True):
            what = "writes" if writes else "reads"
            yield {
                "name": f"time of the model, {n_ports} ports, {what}",
                "value": overhead(n_ports, writes=writes),
                "unit": "us/cycle",
                "asked": 2,
                "better": "less",
                "how": "a beat a cycle at each port, 256 bits, the design included, cxxrtl",
            }
    yield {
        "name": "time of the model, 4 ports, waiting",
        "value": overhead(4, writes=False, stuck=True),
        "unit": "us/cycle",
        "asked": 2,
        "better": "less",
        "how": "reads pending, nothing moves",
    }
