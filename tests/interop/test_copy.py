from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import (
    AXI4,
    ReadManager,
    WriteManager,
    bus_pins,
    connect_bus_pins,
)
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Fork

from .harness import build, run


class Copier(Component):
    """Copies from one place in memory to another."""

    def __init__(self, *, data_width):
        self.shape = dict(data_width=data_width, longest=200)
        super().__init__(
            {
                "start": In(1),
                "taken": Out(1),
                "source": In(64),
                "target": In(64),
                "beats": In(range(201)),
                "strb": In(data_width // 8),
                "halt": In(1),
                "idle": Out(1),
                "done": Out(8),
                "failed": Out(2),
                **bus_pins("m00_axi", AXI4(data_width=data_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = ReadManager(**self.shape)
        m.submodules.writer = writer = WriteManager(**self.shape)
        both = data.StructLayout({"source": 64, "target": 64, "beats": range(201)})
        m.submodules.fork = fork = Fork(shape=both, n=2)
        for manager, o, name in [(reader, fork.o[0], "source"), (writer, fork.o[1], "target")]:
            connect_bus_pins(m, self, "m00_axi", manager.bus)
            m.d.comb += [
                manager.halt.eq(self.halt),
                manager.i.valid.eq(o.valid),
                manager.i.payload.addr.eq(o.payload[name]),
                manager.i.payload.beats.eq(o.payload.beats),
                o.ready.eq(manager.i.ready),
            ]
        m.d.comb += [
            fork.i.valid.eq(self.start),
            self.taken.eq(fork.i.ready),
            *(fork.i.payload[name].eq(getattr(self, name)) for name in both.members),
            writer.data.valid.eq(reader.o.valid),
            writer.data.payload.data.eq(reader.o.payload.data),
            writer.data.payload.strb.eq(self.strb),
            reader.o.ready.eq(writer.data.ready),
            self.idle.eq(reader.idle & writer.idle),
            self.failed.eq(reader.failed.as_value() | writer.failed.as_value()),
        ]
        with m.If(writer.done):
            m.d.sync += self.done.eq(self.done + 1)
        return m


def test_copy(require, tmp_path):
    for tool in ("verilator", "compiler", "cocotb"):
        require(tool)
    design = emit(Copier(data_width=64), name="copier", verilog=True)
    source = tmp_path / "copier.v"
    source.write_text(design.verilog)
    folder = build([source], top="copier")
    module = Path(__file__).parent / "bench_copy.py"
    environment = {"BEAT_BYTES": "8"}
    assert run(folder, top="copier", module=module, scratch=tmp_path, environment=environment) == 8
