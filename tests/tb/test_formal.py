import importlib.util
import re

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.tb import formal
from qkloom.tb.errors import ToolError
from qkloom.tb.formal import ProofError, follow, obey, prove, witness


class Counter(Component):
    """Counts to `last` while `step`, which is granted below `last` only when `is_assumed`."""

    def __init__(self, *, last=5, claimed=5, is_assumed=True):
        self.last, self.claimed, self.is_assumed = last, claimed, is_assumed
        super().__init__({"step": In(1), "is_last": Out(1), "peeked": In(3)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        with m.If(self.step):
            m.d.sync += count.eq(count + 1)
        if self.is_assumed:
            m.d.comb += Assume(~self.step | (count < self.last))
        m.d.comb += [self.is_last.eq(count == self.last), Assert(count <= self.claimed)]
        return m


class Peeking(Component):
    """A claim that needs another one about the inner state: two registers stay equal."""

    class Inner(Component):
        def __init__(self):
            super().__init__({"step": In(1), "differ": Out(1)})

        def elaborate(self, platform):
            m = Module()
            there = Signal(8)
            here = Signal(8)
            m.d.comb += self.differ.eq((here == 255) & (there != 255))
            with m.If(self.step):
                m.d.sync += [here.eq(here + 1), there.eq(there + 1)]
            return m

    def __init__(self, *, is_claimed):
        self.is_claimed = is_claimed
        super().__init__({"step": In(1), "here": In(8), "there": In(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.Inner()
        m.d.comb += [dut.step.eq(self.step), Assert(~dut.differ)]
        if self.is_claimed:
            m.d.comb += Assert(self.here == self.there)
        return m


class Broken(Component):
    """One register between two streams, with one mistake."""

    def __init__(self, *, mistake):
        self.mistake = mistake
        items = stream.Signature(2)
        super().__init__({"i": In(items), "o": Out(items), "pick": In(1)})

    def elaborate(self, platform):
        m = Module()
        i, o = stream.Signature(2).create(), stream.Signature(2).create()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(i))
        wiring.connect(m, o, wiring.flipped(self.o))
        full = Signal()
        item = Signal(2)
        m.d.comb += [o.valid.eq(full), o.payload.eq(item), i.ready.eq(~full)]
        with m.If(i.valid & ~full):
            m.d.sync += [full.eq(1), item.eq(i.payload)]
        with m.If(o.ready & full):
            m.d.sync += full.eq(0)
        match self.mistake:
            case "loses":
                m.d.comb += i.ready.eq(1)
            case "doubles":
                with m.If(o.ready & i.valid):
                    m.d.sync += full.eq(1)
            case "changes":
                with m.If(i.valid):
                    m.d.sync += item.eq(i.payload)
            case "withdraws":
                with m.If(i.valid & full):
                    m.d.sync += full.eq(0)
        obey(m, Assume, i, "i")
        obey(m, Assert, o, "o")
        f = follow(m, i, o, pick=self.pick, most=1)
        m.d.comb += Assert(full == (f.inside != 0))
        with m.If(f.active):
            m.d.comb += Assert(item == f.item)
        return m


@pytest.fixture(autouse=True)
def yosys(require):
    require("yosys")


def test_true_claim():
    prove(emit(Counter()), depth=3)
    prove(emit(Counter(claimed=7, is_assumed=False)), depth=1)


def test_false_claim_shows_the_run():
    design = emit(Counter(claimed=3), name="claims")
    with pytest.raises(ProofError, match=r"^claims breaks a claim in this run:\n") as failure:
        prove(design, depth=8)
    run = dict(re.findall(r"^(\w+) +([01 ]+)$", str(failure.value), re.MULTILINE))
    assert run["step"].startswith("1 1 1 1")
    count = re.findall(r"^count +(.*)$", str(failure.value), re.MULTILINE)
    assert count == ["0 1 2 3 4"]


def test_false_in_the_first_cycle():
    with pytest.raises(ProofError, match=r"^counter_\w+ breaks a claim in this run:\n"):
        prove(emit(Counter(claimed=-1)), depth=8)


def test_assumption_is_needed():
    with pytest.raises(ProofError, match=r"^counter_\w+ breaks a claim in this run:\n"):
        prove(emit(Counter(is_assumed=False)), depth=8)


def test_inner_state():
    design = emit(Peeking(is_claimed=False), name="claims")
    message = r"^claims is not proven at depth 3: its claims hold from reset, but allow this run"
    with pytest.raises(ProofError, match=message):
        prove(design, depth=3)
    peek = {"here": "dut.here", "there": "dut.there"}
    prove(emit(Peeking(is_claimed=True), name="claims"), depth=2, peek=peek)


def test_peek_at_nothing():
    with pytest.raises(ToolError, match=r"(?s)^Yosys failed: .*Failed to parse .* `dut.nothing'"):
        prove(emit(Counter(), name="claims"), depth=2, peek={"peeked": "dut.nothing"})


@pytest.mark.parametrize("mistake", ["loses", "doubles", "changes", "withdraws"])
def test_broken_streams(mistake):
    with pytest.raises(ProofError, match=r"^claims breaks a claim in this run:\n"):
        prove(emit(Broken(mistake=mistake), name="claims"), depth=8)


def test_stream_without_mistake():
    prove(emit(Broken(mistake=None), name="claims"), depth=4)


def test_witness():
    assert witness(emit(Counter()), "is_last", depth=10) == 6


def test_no_witness():
    design = emit(Counter(last=6, claimed=7), name="claims")
    with pytest.raises(ProofError, match=r"^claims has no run of 4 cycles that sets is_last$"):
        witness(design, "is_last", depth=4)


def test_missing_tool(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolError, match=r"^Proofs and synthesis need a full Yosys: `python -m pip install"
    ):
        prove(emit(Counter()), depth=1)


def test_time_limit(monkeypatch):
    monkeypatch.setattr(formal, "TIMEOUT_SECONDS", 0.001)
    with pytest.raises(ToolError, match=r"^The proof of claims did not finish in 0.001 s$"):
        prove(emit(Counter(), name="claims"), depth=1)
