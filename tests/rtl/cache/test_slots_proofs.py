"""Slots keep their promises, whatever is wanted: every step from every state of tiny ones.

The parts that decide are proven by solver, cycle by cycle, with all stalls; the whole is too deep
for it, so that it runs through all there is, on the compiled engine.
"""

from itertools import permutations

from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from qkloom.gen.emit import emit
from qkloom.rtl.cache.slots import SlotTable
from qkloom.rtl.cache.spare import SpareSlots
from qkloom.rtl.cache.wanted import WantedCheck
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.cache.slots import Step
from qkloom.tb.engines import check
from qkloom.tb.formal import obey, prove_run, witness
from tests.rtl.cache.test_slots import bench_of


class SpareClaims(Component):
    """What is put is taken once, in order: first free slots, then those with a block."""

    def __init__(self, *, slots):
        self.slots = slots
        self.dut = dut = SpareSlots(slots=slots, blocks=4)
        members = dut.signature.members
        names = ("clear", "put", "spare", "take")
        super().__init__({**{name: members[name] for name in names}, "mixed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [
            getattr(dut, name).eq(getattr(self, name)) for name in ("clear", "put", "take")
        ]
        m.d.comb += dut.spare.eq(self.spare)
        n = range(self.slots + 1)
        kinds = {}
        for name, is_held in (("free", 0), ("held", 1)):
            kept = Array(Signal.like(dut.spare, name=f"{name}_{k}") for k in range(self.slots))
            came, went = Signal(n, name=f"{name}_came"), Signal(n, name=f"{name}_went")
            kinds[name] = kept, came, went
            with m.If(self.put & (self.spare.held == is_held)):
                m.d.sync += [kept[came].eq(self.spare), came.eq(came + 1)]
        (free, n_free, free_went), (held, n_held, held_went) = kinds.values()
        is_free = n_free != free_went
        total = n_free + n_held
        # As users promise.
        m.d.comb += [
            Assume(~self.put | ((total < self.slots) & (free_went + held_went == 0))),
            Assume(~self.take | (free_went + held_went != total)),
            Assume(~(self.put & self.take)),
            self.mixed.eq(self.take & ~is_free & (n_free == 1) & (n_held == 2)),
        ]
        with m.If(total != free_went + held_went):
            wanted = Mux(is_free, free[free_went].as_value(), held[held_went].as_value())
            m.d.comb += Assert(dut.first.as_value() == wanted)
        with m.If(self.take):
            with m.If(is_free):
                m.d.sync += free_went.eq(free_went + 1)
            with m.Else():
                m.d.sync += held_went.eq(held_went + 1)
        with m.If(self.clear):
            m.d.sync += [of.eq(0) for _, *counts in kinds.values() for of in counts]
        return m


def test_spare(require):
    require("yosys")
    design = emit(SpareClaims(slots=3), name="claims")
    prove_run(design, depth=8)
    assert witness(design, "mixed", depth=9) < 9


class WantedClaims(Component):
    """Of any list whatever, those come out that can be had: ascending, known, and not too many."""

    def __init__(self, *, blocks, most):
        self.blocks, self.most = blocks, most
        self.dut = dut = WantedCheck(blocks=blocks, most=most)
        super().__init__({**dut.signature.members, "crowded": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in ("call", "i"):
            connect_stream(m, wiring.flipped(getattr(self, name)), getattr(dut, name))
            obey(m, Assume, getattr(dut, name), name)
        connect_stream(m, dut.o, wiring.flipped(self.o))
        obey(m, Assert, dut.o, "o")
        # One list: its call, what came, and what has to come out of that.
        call = Signal(dut.call.payload.shape())
        is_called = Signal()
        m.d.comb += Assume(~(dut.call.valid & is_called))
        with m.If(dut.call.valid & dut.call.ready):
            m.d.sync += [is_called.eq(1), call.eq(dut.call.payload)]
        came = Signal(self.blocks)
        above = Signal(self.blocks)  # came in order
        unordered = Signal()
        ended = Signal()
        item = dut.i.payload
        bit = Signal(self.blocks)
        m.d.comb += bit.eq(1 << item.block)
        is_above = Signal()
        m.d.comb += is_above.eq((came & ~(bit - 1)) == 0)
        with m.If(dut.i.valid):
            m.d.comb += Assume(~ended)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += ended.eq(item.end)
            with m.If(~item.end):
                m.d.sync += [came.eq(came | bit), unordered.eq(unordered | ~is_above)]
                with m.If(is_above):
                    m.d.sync += above.eq(above | bit)
        had = Signal(self.blocks)
        tail = Signal(self.blocks)
        m.d.comb += tail.eq(1 << call.tail)
        below = above & (tail - 1)
        for b in range(self.blocks):
            fits = sum(below[:b]) < self.most if b else 1
            m.d.comb += had[b].eq((below[b] & fits) | (above[b] & tail[b]))
        o = dut.o.payload
        told = Signal(self.blocks)
        of = Signal(self.blocks)
        m.d.comb += of.eq(1 << o.block)
        excess = sum(below) > self.most
        wrong = Cat(o.unknown, o.unordered, o.excess)
        with m.If(dut.o.valid):
            with m.If(o.end):
                m.d.comb += [
                    Assert(ended),
                    Assert(told == Mux(call.dropped, 0, had)),
                    Assert(
                        wrong
                        == Mux(
                            call.dropped,
                            0,
                            Cat((came & ~(tail | (tail - 1))).any(), unordered, excess),
                        )
                    ),
                ]
            with m.Else():
                m.d.comb += [
                    Assert((told & ~(of - 1)) == 0),
                    Assert(o.tail == (o.block == call.tail)),
                    Assert(wrong == 0),
                ]
                m.d.sync += told.eq(Mux(dut.o.ready, told | of, told))
            m.d.comb += self.crowded.eq(o.end & excess & o.unordered & ~call.dropped)
        return m


def test_wanted(require):
    require("yosys")
    design = emit(WantedClaims(blocks=4, most=1), name="claims")
    prove_run(design, depth=7)
    assert witness(design, "crowded", depth=7) < 7


def test_every_step_from_every_state(require):
    """Two slots, four blocks: all that can be in them, and then every set, with every tail."""
    require("compiler")
    blocks = 4
    states = [(), *permutations(range(blocks), 1), *permutations(range(blocks), 2)]
    steps = []
    for state in states:
        for tail in range(blocks):
            for mask in range(1 << blocks):
                # Slot 0 first; then slot 1, which is the free one.
                steps.append(Step(0, 4, [], clears=True))
                steps += [Step(0, 4, sorted(state[: n + 1])) for n in range(len(state))]
                steps.append(Step(0, tail, [b for b in range(blocks) if mask >> b & 1]))
    unit = SlotTable(heads=1, blocks=blocks + 1, k=3)
    check(emit(unit), bench_of(unit, steps))
