"""Small designs that every engine must simulate alike."""

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, flipped

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.rtl.stream import Queue, connect_stream
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench, pack

N = 9
I_SHAPE = data.StructLayout({"row": data.ArrayLayout(I8, N), "scale": signed(7), "last": 1})
O_SHAPE = data.StructLayout(
    {"row": data.ArrayLayout(signed(16), N), "total": signed(20), "last": 1}
)
ACCESS = data.StructLayout({"address": 4, "data": signed(40), "write": 1})


class Scaler(Component):
    """Multiply on the way through, combinationally: a boundary with logic from port to port."""

    keep_boundary = True

    def __init__(self, *, offset_width):
        super().__init__(
            {"x": In(8), "scale": In(7), "offset": In(signed(offset_width)), "y": Out(signed(16))}
        )

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(15))
        m.d.comb += product.eq(self.x.as_signed() * self.scale.as_signed())
        m.d.comb += self.y.eq(product + self.offset)
        return m


class Toy(Component):
    """A pipe of signed arithmetic, a memory, and a report of what the pipe took."""

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(I_SHAPE)),
                "o": Out(stream.Signature(O_SHAPE)),
                "o_tap": Out(stream.Signature(6, always_ready=True)),
                "offset": In(signed(9)),
                "ports": In(stream.Signature(ACCESS)).array(2),
                "answers": Out(stream.Signature(signed(40))).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(shape=O_SHAPE, depth=5)
        i, item = self.i.payload, queue.i.payload
        for n in range(N):
            m.submodules[f"scaler_{n}"] = scaler = Scaler(offset_width=9)
            m.d.comb += [
                scaler.x.eq(i.row[n]),
                scaler.scale.eq(i.scale),
                scaler.offset.eq(self.offset),
                item.row[n].eq(scaler.y),
            ]
        total = Signal(signed(20))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += total.eq(Mux(i.last, 0, total + i.row[0]))
            m.d.sync += self.o_tap.payload.eq(self.o_tap.payload + 1)
        m.d.sync += self.o_tap.valid.eq(self.i.valid & self.i.ready)
        m.d.comb += [
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            item.total.eq(total),
            item.last.eq(i.last),
        ]
        connect_stream(m, queue.o, flipped(self.o))
        for n in range(2):
            self._add_memory(m, n)
        return m

    def _add_memory(self, m, n):
        memory = Memory(shape=signed(40), depth=16, init=range(16))
        m.submodules[f"memory_{n}"] = memory
        w_port, r_port = memory.write_port(), memory.read_port(domain="comb")
        access, port, answer = self.ports[n].payload, self.ports[n], self.answers[n]
        m.d.comb += [
            w_port.addr.eq(access.address),
            w_port.data.eq(access.data),
            w_port.en.eq(port.valid & port.ready & access.write),
            r_port.addr.eq(access.address),
            port.ready.eq(answer.ready | ~answer.valid),
        ]
        with m.If(port.ready):
            m.d.sync += answer.valid.eq(port.valid & ~access.write)
            m.d.sync += answer.payload.eq(r_port.data)


class Wire(Component):
    """No clock at all, and payloads without bits beside those with."""

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "i_token": In(stream.Signature(0)),
                "o_token": Out(stream.Signature(0)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        connect_stream(m, flipped(self.i), flipped(self.o))
        connect_stream(m, flipped(self.i_token), flipped(self.o_token))
        return m


class Faulty(Component):
    """Pass items on, and break a rule: 1 withdraws, 2 changes an item, 3 waits for ready."""

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(40)),
                "o": Out(stream.Signature(40)),
                "fault": In(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        waited = Signal(3)
        m.d.sync += waited.eq(Mux(self.o.valid & ~self.o.ready, waited + 1, 0))
        connect_stream(m, flipped(self.i), flipped(self.o))
        with m.If((self.fault == 1) & (waited == 2)):
            m.d.comb += self.o.valid.eq(0)
        with m.If((self.fault == 2) & (waited == 3)):
            m.d.comb += self.o.payload.eq(self.i.payload ^ (1 << 39))
        with m.If(self.fault == 3):
            m.d.comb += self.o.valid.eq(self.i.valid & self.o.ready)
        return m


@pytest.fixture(scope="session")
def toy():
    return emit(Toy(), verilog=True)


@pytest.fixture(scope="session")
def wire():
    return emit(Wire(), verilog=True)


@pytest.fixture(scope="session")
def faulty():
    return emit(Faulty(), verilog=True)


def _expect_memory(contents, address, numbers, write):
    answers = []
    for a, number, w in zip(address, numbers, write, strict=True):
        if w:
            contents[a] = number
        else:
            answers.append(contents[a])
    return answers


@pytest.fixture(scope="session")
def make_toy_bench():
    """Return a function that makes a testbench of the toy, with its expected outputs."""

    def make(*, n=80, seed=0, stall=0.4, offset=-5, **options):
        rng = np.random.default_rng(seed)
        row = rng.integers(-128, 128, (n, N))
        scale = rng.integers(-64, 64, n)
        last = rng.integers(0, 2, n)
        total = np.zeros(n, np.int64)
        for index in range(1, n):
            total[index] = 0 if last[index - 1] else total[index - 1] + row[index - 1, 0]
        inputs = {"i": Stimulus(pack(I_SHAPE, row=row, scale=scale, last=last), Stall(stall))}
        outputs = {
            "o": Expectation(
                pack(O_SHAPE, row=row * scale[:, np.newaxis] + offset, total=total, last=last),
                Stall(stall, burst=4, seed=seed),
            ),
            "o_tap": Expectation(np.arange(1, n + 1) % 64),
        }
        for port in range(2):
            address = rng.integers(0, 16, n)
            numbers = rng.integers(-(1 << 39), 1 << 39, n)
            write = rng.integers(0, 2, n)
            words = pack(ACCESS, address=address, data=numbers, write=write)
            inputs[f"ports__{port}"] = Stimulus(words, Stall(stall, seed=seed + 1))
            answers = _expect_memory(list(range(16)), address, numbers, write)
            outputs[f"answers__{port}"] = Expectation(
                np.array(answers), Stall(stall / 2, seed=seed)
            )
        return Testbench(inputs, outputs, max_cycles=20 * n, levels={"offset": offset}, **options)

    return make
