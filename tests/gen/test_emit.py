import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth import (
    ClockDomain,
    DomainRenamer,
    EnableInserter,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
    signed,
)
from amaranth.lib import data, fifo, memory, stream
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.tb.design import Port
from qkloom.tb.engines import run
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench


def modules(text):
    """Names of the RTLIL modules, in order."""
    return re.findall(r"^module \\(\S+)$", text, re.M)


def cell(text, name):
    """Port connections of one RTLIL cell."""
    body = re.search(rf"^  cell \S+ \\{re.escape(name)}\n(.*?)^  end$", text, re.M | re.S)[1]
    return dict(re.findall(r"connect \\(\S+) (.*)$", body, re.M))


class Delay(Component):
    """One register."""

    def __init__(self, *, width):
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i)
        return m


class Chain(Component):
    """``n`` registers in a row."""

    keep_boundary = True

    def __init__(self, *, n, width=8, stage=None):
        self._n, self._width, self._stage = n, width, stage or Delay
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for k in range(self._n):
            m.submodules[f"stage_{k}"] = stage = self._stage(width=self._width)
            m.d.comb += stage.i.eq(value)
            value = stage.o
        m.d.comb += self.o.eq(value)
        return m


class Wrapped(Component):
    """One component, controlled by what it cannot see."""

    def __init__(self, *, inner, wrap=None):
        self._inner, self._wrap = inner, wrap
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        inner = self._inner(width=8)
        m.submodules.inner = self._wrap(Signal())(inner) if self._wrap else inner
        m.d.comb += [inner.i.eq(self.i), self.o.eq(inner.o)]
        return m


class TestSharing:
    def test_one_module_per_distinct_component(self):
        design = emit(Chain(n=5))
        assert modules(design.rtlil) == [design.name, "delay_width8"]
        assert design.rtlil.count("cell \\delay_width8 ") == 5

    def test_each_is_elaborated_once(self):
        elaborated = []

        class Counted(Delay):
            def __init__(self, *, width):
                super().__init__(width=width)

            def elaborate(self, platform):
                elaborated.append(self.parameters["width"])
                return Module()

        emit(Chain(n=4, stage=Counted))
        assert elaborated == [8]

    def test_parameters_tell_modules_apart(self):
        class Both(Component):
            def __init__(self):
                super().__init__({"i": In(4)})

            def elaborate(self, platform):
                m = Module()
                m.submodules.narrow = Delay(width=4)
                m.submodules.wide = Delay(width=8)
                return m

        assert sorted(modules(emit(Both()).rtlil)) == ["both", "delay_width4", "delay_width8"]

    def test_true_is_not_one(self):
        class Which(Component):
            def __init__(self, *, flag):
                self._flag = flag
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.d.comb += self.o.eq(7 if self._flag is True else 9)
                return m

        class Both(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.submodules.a = Which(flag=True)
                m.submodules.b = Which(flag=1)
                return m

        assert len(modules(emit(Both()).rtlil)) == 3

    def test_derived_class_may_extend_elaboration(self):
        class Inverted(Delay):
            def __init__(self, *, width):
                super().__init__(width=width)

            def elaborate(self, platform):
                m = Module()
                m.submodules.base = super().elaborate(platform)
                return m

        names = modules(emit(Chain(n=2, stage=Inverted), name="top").rtlil)
        assert names == ["top", "inverted_width8", "inverted_width8.base"]

    def test_component_that_is_a_primitive(self):
        class Primitive(Component):
            def __init__(self, *, width):
                super().__init__({"i": In(width), "o": Out(width)})

            def elaborate(self, platform):
                return Instance("PRIMITIVE", i_I=self.i, o_O=self.o)

        design = emit(Chain(n=2, stage=Primitive), name="top", verilog=True)
        assert modules(design.rtlil) == ["top", "primitive_width8"]
        assert design.verilog.count("PRIMITIVE inner (") == 1

    def test_boundaries_are_the_classes_that_say_so(self):
        assert emit(Chain(n=2)).boundaries == ("chain_n2_width8_stagenone",)

    def test_digest(self):
        design = emit(Chain(n=2))
        assert design.digest == hashlib.sha256(design.rtlil.encode()).hexdigest()
        assert design.digest != emit(Chain(n=3)).digest

    def test_the_component_is_left_as_it_was(self):
        top = Chain(n=2)
        assert emit(top).rtlil == emit(top).rtlil
        simulator = Simulator(top)
        simulator.add_clock(1e-6)

        async def testbench(ctx):
            ctx.set(top.i, 5)
            await ctx.tick().repeat(2)
            assert ctx.get(top.o) == 5

        simulator.add_testbench(testbench)
        simulator.run()


class TestPorts:
    class Every(Component):
        """A port of each kind."""

        def __init__(self):
            row = data.StructLayout({"row": data.ArrayLayout(I8, 3), "last": 1})
            super().__init__(
                {
                    "i": In(stream.Signature(row)),
                    "pair": In(signed(4)).array(2),
                    "empty": In(0),
                    "unused": In(5),
                    "undriven": Out(6, init=9),
                    "steady": Out(stream.Signature(2, always_ready=True)),
                    "o": Out(signed(8)),
                }
            )

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.eq(self.i.p.row[1] + self.pair[0] + self.pair[1])
            return m

    def test_flattened(self):
        design = emit(self.Every())
        assert design.ports == (
            Port("i__payload", 25, is_input=True, is_signed=False),
            Port("i__valid", 1, is_input=True, is_signed=False),
            Port("i__ready", 1, is_input=False, is_signed=False),
            Port("pair__0", 4, is_input=True, is_signed=True),
            Port("pair__1", 4, is_input=True, is_signed=True),
            Port("unused", 5, is_input=True, is_signed=False),
            Port("undriven", 6, is_input=False, is_signed=False),
            Port("steady__payload", 2, is_input=False, is_signed=False),
            Port("steady__valid", 1, is_input=False, is_signed=False),
            Port("o", 8, is_input=False, is_signed=True),
        )
        declared = re.findall(
            r"wire width (\d+) (input|output) \d+ +(?:signed )?\\(\S+)", design.rtlil
        )
        assert {(n, int(w), d == "input") for w, d, n in declared} == {
            (port.name, port.width, port.is_input) for port in design.ports
        }

    def test_all_are_connected_in_the_parent(self):
        class Parent(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

            def elaborate(platform_self, platform):  # noqa: N805 - `self` is the test
                m = Module()
                m.submodules.every = every = self.Every()
                m.d.comb += [every.i.p.row[1].eq(-3), every.pair[1].eq(-4)]
                m.d.comb += platform_self.o.eq(every.o)
                return m

        design = emit(Parent())
        assert cell(design.rtlil, "every") == {
            "i__payload": "\\every__i__payload [24:0]",
            "i__valid": "1'0",
            "i__ready": "$1",  # used by nobody
            "pair__0": "4'0000",
            "pair__1": "4'1100",
            "unused": "5'00000",
            "undriven": "$2",
            "steady__payload": "$3",
            "steady__valid": "$4",
            "o": "\\o",
        }

    def test_no_clock_without_registers(self):
        assert "clk" not in emit(self.Every()).rtlil


class TestPlainAmaranth:
    class Buffered(Component):
        def __init__(self, *, width):
            self._width = width
            super().__init__({"i": In(width), "o": Out(width)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.queue = queue = fifo.SyncFIFO(width=self._width, depth=4)
            m.submodules.mem = mem = memory.Memory(
                shape=self._width, depth=16, init=[], attrs={"ram_style": "distributed"}
            )
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                queue.w_data.eq(self.i), queue.w_en.eq(1), queue.r_en.eq(1),
                write.data.eq(queue.r_data), write.en.eq(1), write.addr.eq(self.i),
                read.addr.eq(~self.i), self.o.eq(read.data),
            ]  # fmt: skip
            return m

    def test_submodules_get_the_name_of_their_parent(self):
        design = emit(Chain(n=2, stage=self.Buffered), name="top")
        assert modules(design.rtlil) == ["top", "buffered_width8", "buffered_width8.queue"]

    def test_attributes_of_the_user_stay(self):
        text = emit(self.Buffered(width=8), verilog=True).verilog
        assert '(* ram_style = "distributed" *)' in text

    def test_memory_ports_are_named_by_their_memory(self):
        text = emit(self.Buffered(width=8)).rtlil
        assert "mem__w_data" in text and "mem__r_addr" in text


class TestNames:
    def test_top(self):
        assert emit(Chain(n=2)).name == "chain_n2_width8_stagenone"
        design = emit(Chain(n=2), name="my_chip")
        assert design.name == "my_chip"
        assert modules(design.rtlil)[0] == "my_chip"

    def test_top_goes_first_when_a_child_wants_its_name(self):
        names = modules(emit(Chain(n=2), name="delay_width8").rtlil)
        assert names[0] == "delay_width8"
        assert re.fullmatch("delay_width8_[0-9a-f]{8}", names[1])

    def test_bad_name(self):
        with pytest.raises(ValueError, match=r"^A module name must be an identifier, not '2x'$"):
            emit(Chain(n=2), name="2x")

    def test_equal_spelling(self):
        class Spelled(Component):
            def __init__(self, *, mode):
                self._mode = mode
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.d.comb += self.o.eq(len(self._mode))
                return m

        class Both(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.submodules.a = Spelled(mode="x y")
                m.submodules.b = Spelled(mode="x_y")
                return m

        names = sorted(modules(emit(Both()).rtlil))
        assert names[:2] == ["both", "spelled_x_y"]
        assert re.fullmatch("spelled_x_y_[0-9a-f]{8}", names[2])

    def test_classes_of_one_name(self):
        def define(value):
            class Twin(Component):
                def __init__(self):
                    super().__init__({"o": Out(8)})

                def elaborate(self, platform):
                    m = Module()
                    m.d.comb += self.o.eq(value)
                    return m

            return Twin

        first, second, third = define(1), define(2), define(3)

        class Family(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.submodules.a = first()
                m.submodules.b = second()
                m.submodules.c = third()
                return m

        names = modules(emit(Family()).rtlil)
        assert len(set(names)) == 4

    def test_long(self):
        class Titled(Component):
            def __init__(self, *, title):
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                return Module()

        class Pair(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

            def elaborate(self, platform):
                m = Module()
                m.submodules.a = Titled(title="x" * 42)
                m.submodules.b = Titled(title="x" * 43)
                return m

        assert emit(Titled(title="x" * 41)).name == "titled_" + "x" * 41
        first, second = sorted(modules(emit(Pair()).rtlil))[1:]
        assert first == "titled" and re.fullmatch("titled_[0-9a-f]{8}", second)


class TestClockDomains:
    class Crossing(Component):
        """A register in ``sync``, then one in ``fast``."""

        def __init__(self, *, width):
            self._width = width
            super().__init__({"i": In(width), "o": Out(width)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.slow = slow = Delay(width=self._width)
            m.submodules.fast = fast = DomainRenamer("fast")(Delay(width=self._width))
            m.d.comb += [slow.i.eq(self.i), fast.i.eq(slow.o), self.o.eq(fast.o)]
            return m

    def test_renamed_children_share_a_module(self):
        text = emit(self.Crossing(width=8)).rtlil
        assert modules(text) == ["crossing_width8", "delay_width8"]
        assert cell(text, "slow") | {"i": "", "o": ""} == {
            "clk": "\\clk [0]", "rst": "\\rst [0]", "i": "", "o": "",
        }  # fmt: skip
        assert cell(text, "fast") | {"i": "", "o": ""} == {
            "clk": "\\fast_clk [0]", "rst": "\\fast_rst [0]", "i": "", "o": "",
        }  # fmt: skip

    def test_a_module_with_two_domains_is_shared_whatever_they_are_called_outside(self):
        class Outside(Component):
            def __init__(self):
                super().__init__({"i": In(8), "o": Out(8)})

            def elaborate(platform_self, platform):  # noqa: N805 - `self` is the test
                m = Module()
                m.domains.half = half = ClockDomain("half", reset_less=True, local=True)
                m.d.sync += half.clk.eq(~half.clk)
                m.submodules.a = a = self.Crossing(width=8)
                renamed = DomainRenamer({"sync": "half", "fast": "sync"})
                m.submodules.b = b = renamed(self.Crossing(width=8))
                m.d.comb += [a.i.eq(platform_self.i), b.i.eq(a.o), platform_self.o.eq(b.o)]
                return m

        text = emit(Outside()).rtlil
        assert modules(text) == ["outside", "crossing_width8", "delay_width8"]
        clocks = ("clk", "rst", "fast_clk", "fast_rst")
        ports = cell(text, "a")
        assert [ports[c] for c in clocks] == [f"\\{c} [0]" for c in clocks]
        ports = cell(text, "b")
        assert [ports[c] for c in clocks] == ["\\half_clk [0]", "1'0", "\\clk [0]", "\\rst [0]"]

    def test_a_domain_made_inside_stays_inside(self):
        class Divided(Component):
            def __init__(self, *, width):
                super().__init__({"i": In(width), "o": Out(width)})

            def elaborate(self, platform):
                m = Module()
                m.domains.half = half = ClockDomain("half", reset_less=True)
                m.d.sync += half.clk.eq(~half.clk)
                m.d.half += self.o.eq(self.i)
                return m

        text = emit(Chain(n=2, stage=Divided), name="top").rtlil
        assert set(cell(text, "stage_0")) == {"clk", "rst", "i", "o"}

        class Leaking(Wrapped):
            def __init__(self, *, inner):
                super().__init__(inner=inner)

            def elaborate(self, platform):
                m = Module()
                m.submodules.body = super().elaborate(platform)
                m.d.half += Signal().eq(1)
                return m

        message = (
            "^Clock domain 'half' must be defined in leak or above, "
            r"not inside its submodule body\.inner$"
        )
        with pytest.raises(ValueError, match=message):
            emit(Leaking(inner=Divided), name="leak")

    @pytest.mark.parametrize("change", [{"clk_edge": "neg"}, {"async_reset": True}])
    def test_other_kinds_of_domain(self, change):
        class Odd(Component):
            def __init__(self):
                super().__init__({"i": In(8)})

            def elaborate(self, platform):
                m = Module()
                m.domains.odd = ClockDomain("odd", local=True, **change)
                m.submodules.delay = DomainRenamer("odd")(Delay(width=8))
                return m

        message = (
            "^A shared module needs a rising edge and a synchronous reset, "
            r"unlike clock domain 'odd' of odd\.delay$"
        )
        with pytest.raises(ValueError, match=message):
            emit(Odd())

    @pytest.mark.parametrize("inserter", [ResetInserter, EnableInserter])
    def test_inserters(self, inserter):
        message = (
            f"^{inserter.__name__} cannot reach into inner, which is a shared module; "
            "give it an enable port, or a clock domain with a reset of its own$"
        )
        with pytest.raises(ValueError, match=message):
            emit(Wrapped(inner=Delay, wrap=inserter))

    def test_port_named_like_a_clock(self):
        class Clocked(Component):
            def __init__(self):
                super().__init__({"rst": In(1), "o": Out(1)})

            def elaborate(self, platform):
                m = Module()
                m.d.sync += self.o.eq(~self.o)
                return m

        message = "^Port 'rst' of clocked is named like a clock domain's$"
        with pytest.raises(ValueError, match=message):
            emit(Clocked())


class TestErrors:
    def test_not_a_component(self):
        with pytest.raises(TypeError, match=r"^Only a qkloom component can be emitted, not <.*>$"):
            emit(Module())

    @pytest.mark.parametrize("value", [frozenset({"a", "b"}), lambda: None])
    def test_parameter_without_stable_text(self, value):
        message = r"^Parameter 'stage' must print the same in every run, not .*$"
        with pytest.raises(TypeError, match=message):
            emit(Chain(n=0, stage=value))

    def test_recursion(self):
        class Endless(Component):
            def __init__(self):
                super().__init__({})

            def elaborate(self, platform):
                m = Module()
                m.submodules.again = Endless()
                return m

        with pytest.raises(ValueError, match=r"Endless\(\) contains itself$"):
            emit(Endless())


class TestVerilog:
    def test_only_when_asked(self):
        assert emit(Chain(n=1)).verilog is None

    def test_is_readable(self):
        text = emit(Chain(n=2), name="top", verilog=True).verilog
        assert re.findall(r"^module (\S+)\(", text, re.M) == ["delay_width8", "top"]
        assert "delay_width8 stage_0 (" in text
        assert ".i(stage_0__o)" in text
        assert not re.search(r"[$\\]|generator|\(\*", text)


class Accumulator(Component):
    """Sums behind a queue, disturbed by registers of two clock domains and a memory."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(signed(12)))})

    def elaborate(self, platform):
        m = Module()
        m.domains.half = half = ClockDomain("half", local=True)
        m.d.sync += half.clk.eq(~half.clk)
        m.d.comb += half.rst.eq(ResetSignal())
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=12, depth=3)
        m.submodules.chain = chain = Chain(n=3)
        m.submodules.slow = slow = Chain(n=3)
        m.submodules.slower = slower = DomainRenamer("half")(Chain(n=3))
        m.submodules.seen = seen = memory.Memory(shape=signed(8), depth=16, init=range(16))
        write = seen.write_port()
        read = seen.read_port()
        total = Signal(signed(12), init=-5)
        taken = Signal()
        held = Signal(8)
        with m.If(half.clk):  # data changes when that clock falls: Verilog orders nothing else
            m.d.sync += held.eq(slow.o)
        m.d.comb += [
            self.i.ready.eq(queue.w_rdy),
            taken.eq(self.i.valid & self.i.ready),
            chain.i.eq(self.i.p),
            slow.i.eq(chain.o),
            slower.i.eq(held),
            write.addr.eq(self.i.p),
            write.data.eq(chain.o),
            write.en.eq(taken),
            read.addr.eq(chain.o),
            queue.w_en.eq(taken),
            queue.w_data.eq(total),
            self.o.p.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        with m.If(taken), m.Switch(self.i.p[:3]):
            with m.Case(0, 5):
                m.d.sync += total.eq(total + read.data)
            with m.Case("1-0"):
                m.d.sync += total.eq(total - slow.o.as_signed())
            with m.Case("01-"):
                m.d.sync += total[4:].eq(slower.o)
            with m.Default():
                m.d.sync += total.eq(-total)
        return m


class TestBehaviour:
    @pytest.mark.parametrize("engine", ["cxxrtl", "verilator"])
    def test_as_elaborated_in_place(self, require, engine):
        require("compiler")
        if engine == "verilator":
            require("verilator")
        rng = np.random.default_rng(1)
        testbench = Testbench(
            inputs={"i": Stimulus(rng.integers(0, 256, 500), Stall(0.3, seed=1))},
            outputs={"o": Expectation(count=500, stall=Stall(0.4, burst=3, seed=2))},
            max_cycles=5000,
        )
        design = emit(Accumulator(), verilog=True)
        in_place, emitted = (run(design, testbench, e) for e in ("pysim", engine))
        assert len(np.unique(in_place.outputs["o"])) > 50
        np.testing.assert_array_equal(emitted.outputs["o"], in_place.outputs["o"])
        assert emitted.cycles == in_place.cycles


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from test_emit import *

class Many(Component):
    def __init__(self):
        super().__init__({{"i": In(8), "o": Out(8)}})

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for name in ("sync", "alpha", "beta", "gamma", "delta"):
            stage = TestClockDomains.Crossing(width=8)
            m.submodules[name] = DomainRenamer({{"sync": name, "fast": name + "_x"}})(stage)
            m.d.comb += stage.i.eq(value)
            value = stage.o
        m.d.comb += self.o.eq(value)
        return m

design = emit(Many(), verilog=True)
sys.stdout.write(design.rtlil + design.verilog)
"""


class TestReproducible:
    def test_same_bytes_in_every_process(self):
        program = PROGRAM.format(folder=str(Path(__file__).parent))
        runs = [
            subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        ]
        assert runs[0] == runs[1]
        assert runs[0].count(b"alpha_x_clk") > 2
