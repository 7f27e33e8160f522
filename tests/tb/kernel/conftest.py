"""A small kernel that every engine must simulate alike: it copies memory."""

import pytest
from amaranth.hdl import Array, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, flipped

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4, AXI4Lite, bus_pins, connect_bus_pins
from qkloom.rtl.component import Component

BEATS = 16
"""Of a burst."""

START, STATUS, SOURCE, TARGET, PAIRS, STROBES, DEAF = 0x00, 0x04, 0x10, 0x18, 0x20, 0x24, 0x40


class Store(Component):
    """Room for two bursts: a boundary, which gets the kernel's clock as a port."""

    keep_boundary = True

    def __init__(self, *, width):
        self._width = width
        super().__init__(
            {
                "w_addr": In(5),
                "w_data": In(width),
                "w_en": In(1),
                "r_addr": In(5),
                "r_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self._width, depth=2 * BEATS, init=[])
        w_port, r_port = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            w_port.addr.eq(self.w_addr),
            w_port.data.eq(self.w_data),
            w_port.en.eq(self.w_en),
            r_port.addr.eq(self.r_addr),
            self.r_data.eq(r_port.data),
        ]
        return m


class Copier(Component):
    """Copy pairs of bursts, each of an ID of its own, from one port to another.

    Registers: start (0x00), status (0x04, errors seen), 64-bit pointers (0x10, 0x18), pairs of
    bursts (0x20), strobes (0x24, 32 bits for each half of a beat). 0x40 is never answered, and from
    0x80 on answers are SLVERR.
    """

    def __init__(self, *, data_width=256, vendor=False):
        self._bus = AXI4(data_width=data_width, id_width=2)
        self._control = AXI4Lite(address_width=12)
        self._vendor = vendor
        members = {
            **bus_pins("s_axi_control", self._control.flip()),
            **bus_pins("m00_axi", self._bus),
            **bus_pins("m01_axi", self._bus),
            "interrupt": Out(1),
        }
        if vendor:
            members |= {"ap_clk": In(1), "ap_rst_n": In(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        if self._vendor:
            m.domains.sync = ClockDomain()
            m.d.comb += [ClockSignal().eq(self.ap_clk), ResetSignal().eq(~self.ap_rst_n)]
        reader, writer = self._bus.create(), self._bus.create()
        connect_bus_pins(m, self, "m00_axi", reader)
        connect_bus_pins(m, self, "m01_axi", writer)
        registers, start, failed = self._registers(m)
        source, target = registers[0], registers[1]

        m.submodules.store = store = Store(width=self._bus.data_width)
        width = self._bus.beat_bits
        burst_bytes = BEATS << width
        which = Signal()
        pairs = Signal(32)
        counts = Array([Signal(range(BEATS + 1), name=f"count_{n}") for n in range(2)])
        n_answers = Signal(2)
        beat = Signal(range(BEATS))
        got, put = reader.r.payload, writer.w.payload
        m.d.comb += [
            store.w_addr.eq(got.id[0] * BEATS + counts[got.id[0]]),
            store.w_data.eq(got.data),
            store.w_en.eq(reader.r.valid & reader.r.ready),
            store.r_addr.eq(which * BEATS + beat),
            put.data.eq(store.r_data),
            put.strb.eq(registers[3]),
            put.last.eq(beat == BEATS - 1),
        ]
        for payload, base in ((reader.ar.payload, source), (writer.aw.payload, target)):
            m.d.comb += [
                payload.addr.eq(base + which * burst_bytes),
                payload.id.eq(which + 2 * (payload is writer.aw.payload)),
                payload.len.eq(BEATS - 1),
                payload.size.eq(width),
                payload.burst.eq(1),
            ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [pairs.eq(registers[2]), which.eq(0)]
                with m.If(start):
                    m.d.sync += self.interrupt.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += reader.ar.valid.eq(1)
                m.d.sync += [counts[0].eq(0), counts[1].eq(0), n_answers.eq(0)]
                with m.If(reader.ar.ready):
                    m.d.sync += which.eq(~which)
                    with m.If(which):
                        m.next = "get"
            with m.State("get"):
                m.d.comb += reader.r.ready.eq(1)
                with m.If(reader.r.valid):
                    count = counts[got.id[0]]
                    m.d.sync += count.eq(count + 1)
                    m.d.sync += failed.eq(failed | (got.resp.as_value() != 0))
                with m.If((counts[0] == BEATS) & (counts[1] == BEATS)):
                    m.next = "offer"
            with m.State("offer"):
                m.d.comb += writer.aw.valid.eq(1)
                with m.If(writer.aw.ready):
                    m.next = "put"
            with m.State("put"):
                m.d.comb += writer.w.valid.eq(1)
                with m.If(writer.w.ready):
                    m.d.sync += beat.eq(Mux(put.last, 0, beat + 1))
                    with m.If(put.last):
                        m.d.sync += which.eq(~which)
                        m.next = "offer"
                        with m.If(which):
                            m.next = "wait"
            with m.State("wait"):
                m.d.comb += writer.b.ready.eq(1)
                with m.If(writer.b.valid):
                    m.d.sync += n_answers.eq(n_answers + 1)
                    m.d.sync += failed.eq(failed | (writer.b.payload.resp.as_value() != 0))
                    with m.If(n_answers == 1):
                        m.d.sync += [
                            pairs.eq(pairs - 1),
                            source.eq(source + 2 * burst_bytes),
                            target.eq(target + 2 * burst_bytes),
                        ]
                        m.next = "ask"
                        with m.If(pairs == 1):
                            m.d.sync += self.interrupt.eq(1)
                            m.next = "idle"
        return m

    def _registers(self, m):
        """Return source, target, pairs and strobes; whether to start; whether something failed."""
        control = self._control.create()
        connect_bus_pins(m, self, "s_axi_control", flipped(control))
        registers = [
            Signal(width, name=f"register_{width}_{n}") for n, width in enumerate((64, 64, 32, 64))
        ]
        words = [registers[0][:32], registers[0][32:], registers[1][:32], registers[1][32:]]
        words += [registers[2], registers[3][:32], registers[3][32:]]
        start, failed = Signal(), Signal()
        address = control.aw.payload.addr
        writes, is_deaf = Signal(), Signal()
        m.d.comb += [
            is_deaf.eq(address == DEAF),
            writes.eq(
                control.aw.valid & control.w.valid & (~control.b.valid | control.b.ready) & ~is_deaf
            ),
            control.aw.ready.eq(writes),
            control.w.ready.eq(writes),
            control.ar.ready.eq(~control.r.valid),
            start.eq(writes & (address == START)),
        ]
        with m.If(control.b.ready):
            m.d.sync += control.b.valid.eq(0)
        with m.If(writes):
            m.d.sync += control.b.valid.eq(1)
            m.d.sync += control.b.payload.resp.as_value().eq(Mux(address >= 0x80, 2, 0))
            with m.Switch(address[2:7]):
                for n, word in enumerate(words):
                    with m.Case(4 + n):
                        m.d.sync += word.eq(control.w.payload.data)
        with m.If(control.r.ready):
            m.d.sync += control.r.valid.eq(0)
        with m.If(control.ar.valid & control.ar.ready):
            m.d.sync += control.r.valid.eq(control.ar.payload.addr != DEAF)
            m.d.sync += control.r.payload.resp.as_value().eq(
                Mux(control.ar.payload.addr >= 0x80, 2, 0)
            )
            with m.Switch(control.ar.payload.addr[2:7]):
                with m.Case(1):
                    m.d.sync += control.r.payload.data.eq(failed)
                for n, word in enumerate(words):
                    with m.Case(4 + n):
                        m.d.sync += control.r.payload.data.eq(word)
        return registers, start, failed


@pytest.fixture(scope="session")
def copier():
    return emit(Copier())


@pytest.fixture(scope="session")
def vendors_copier():
    return emit(Copier(data_width=512, vendor=True), verilog=True)


class Scripted(Component):
    """Drive pins as a script says, from the cycle after a register was written.

    The register's address is the number of the script times 4. A script is cycles with the pins
    that are not 0 in them, or ``RESET`` with those that are not 0 in every reset.
    """

    RESET = -1

    def __init__(self, *, scripts):
        self._scripts = scripts
        super().__init__(
            {
                **bus_pins("s_axi_control", AXI4Lite(address_width=12).flip()),
                **bus_pins("m00_axi", AXI4(data_width=64, id_width=2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cycle, chosen, answers = Signal(6), Signal(6, reset_less=True), Signal()
        m.d.comb += [self.s_axi_control_awready.eq(1), self.s_axi_control_wready.eq(1)]
        m.d.comb += self.s_axi_control_bvalid.eq(answers)
        with m.If(self.s_axi_control_bready):
            m.d.sync += answers.eq(0)
        with m.If((cycle != 0) & (cycle != 63)):
            m.d.sync += cycle.eq(cycle + 1)
        with m.If(self.s_axi_control_awvalid):
            m.d.sync += [chosen.eq(self.s_axi_control_awaddr[2:]), answers.eq(1), cycle.eq(1)]
        with m.Switch(chosen):
            for number, (_, script) in enumerate(self._scripts):
                with m.Case(number):
                    for when, pins in script:
                        now = ResetSignal() if when == self.RESET else cycle == when
                        with m.If(now):
                            m.d.comb += [getattr(self, pin).eq(value) for pin, value in pins]
        return m
