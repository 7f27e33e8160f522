"""Blocks of Verilator's: which modules are, and that nobody sees that they are."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.tb.engines import blocks, check, run
from qkloom.tb.engines.blocks import WORTH, Block, choose_blocks
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench


class Square(Component):
    """Logic from port to port."""

    keep_boundary = True

    def __init__(self):
        super().__init__({"x": In(signed(8)), "y": Out(signed(16))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.y.eq(self.x * self.x)
        return m


class Norm(Component):
    """Blocks in a block, and a register behind them."""

    keep_boundary = True

    def __init__(self):
        super().__init__(
            {"x": In(signed(8)), "y": In(signed(8)), "en": In(1), "o": Out(signed(17))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.a = a = Square()
        m.submodules.b = b = Square()
        total = Signal(signed(17))
        m.d.comb += [a.x.eq(self.x), b.x.eq(self.y), total.eq(a.y + b.y)]
        with m.If(self.en):
            m.d.sync += self.o.eq(total)
        return m


class Norms(Component):
    """Sum of two norms, one cycle later."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(32)), "o": Out(stream.Signature(signed(18)))})

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        m.d.comb += [en.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(en)]
        with m.If(en):
            m.d.sync += self.o.valid.eq(self.i.valid)
        norms = [Norm(), Norm()]
        for n, norm in enumerate(norms):
            m.submodules[f"norm_{n}"] = norm
            bits = self.i.payload.word_select(n, 16)
            m.d.comb += [norm.x.eq(bits[:8]), norm.y.eq(bits[8:]), norm.en.eq(en)]
        m.d.comb += self.o.payload.eq(norms[0].o + norms[1].o)
        return m


@pytest.fixture(scope="module")
def norms():
    return emit(Norms(), verilog=True)


@pytest.fixture
def bench():
    numbers = np.random.default_rng(0).integers(-128, 128, (60, 4)).astype(np.int8)
    sums = (numbers.astype(int) ** 2).sum(axis=1)
    return Testbench(
        inputs={"i": Stimulus(numbers.view(np.uint32).ravel(), Stall(0.3))},
        outputs={"o": Expectation(sums, Stall(0.4, seed=1))},
        max_cycles=600,
    )


@pytest.fixture
def everything_is_worth_it(monkeypatch):
    monkeypatch.setattr(blocks, "WORTH", 1)


def padded(design, module, n):
    """Return the design with a comment of ``n`` characters in a module."""
    head = f"module {module}("
    assert head in design.verilog
    return replace(design, verilog=design.verilog.replace(head, f"{head}/*{' ' * n}*/"))


class TestChoice:
    def test_small_design(self, norms):
        assert choose_blocks(norms) == (Block("norms", ()),)

    def test_what_pays(self, norms):
        large = padded(norms, "square", WORTH // 3)  # there are four, and one remains
        assert choose_blocks(large) == (Block("square", ()), Block("norms", ("square",)))

    def test_boundaries_only(self, norms):
        large = replace(padded(norms, "square", WORTH), boundaries=("norm",))
        assert choose_blocks(large) == (Block("norm", ()), Block("norms", ("norm",)))

    def test_inner_blocks_do_not_count(self, norms):
        large = padded(padded(norms, "square", WORTH), "norm", WORTH // 2)
        assert choose_blocks(large) == (Block("square", ()), Block("norms", ("square",)))

    def test_inner_blocks_come_first(self, norms, everything_is_worth_it):
        assert choose_blocks(norms) == (
            Block("square", ()),
            Block("norm", ("square",)),
            Block("norms", ("norm",)),
        )

    def test_top_is_no_block_of_itself(self, norms):
        assert choose_blocks(replace(norms, boundaries=("norms",))) == (Block("norms", ()),)


@pytest.mark.usefixtures("everything_is_worth_it")
class TestSimulation:
    @pytest.fixture(autouse=True)
    def tools(self, require):
        require("compiler")
        require("verilator")

    @pytest.mark.parametrize("aborted_cycles", [0, 23])
    def test_blocks_in_blocks(self, norms, bench, aborted_cycles):
        bench = replace(bench, aborted_cycles=aborted_cycles)
        result, other = check(norms, bench, "verilator"), run(norms, bench, "pysim")
        assert result.cycles == other.cycles
        assert np.array_equal(result.transfers["o"], other.transfers["o"])

    def test_blocks_from_port_to_port(self, toy, make_toy_bench):
        assert len(choose_blocks(toy)) == 2
        bench = make_toy_bench(seed=3)
        assert check(toy, bench, "verilator").cycles == run(toy, bench, "pysim").cycles

    def test_waves_show_everything(self, norms, bench, tmp_path):
        run(norms, bench, "verilator", waves=tmp_path / "waves.vcd")
        assert (tmp_path / "waves.vcd").read_text().count("$scope module a $end") == 2
