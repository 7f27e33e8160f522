"""A full block is neither overwritten nor loaded before memory has it: a proof, cycle by cycle.

It is bounded: every run of so many cycles after a reset, whatever comes and whoever waits.
"""

from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from qkloom.gen.emit import emit
from qkloom.rtl.cache.tail import TailBlocks
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove_run, witness

INPUTS, OUTPUTS = ("append", "written", "step"), ("place", "write_back", "o_step")
HEADS, IN_FLIGHT = 2, 2


class TailClaims(Component):
    """Blocks of one token, so that each append but a begin fills one."""

    def __init__(self):
        self.dut = dut = TailBlocks(heads=HEADS, blocks=2, k=2, block=1, in_flight=IN_FLIGHT)
        super().__init__({**dut.signature.members, "waited": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += Assume(~ResetSignal())
        moved = {}
        for name in (*INPUTS, *OUTPUTS):
            inner, port = getattr(dut, name), getattr(self, name)
            if name in INPUTS:
                connect_stream(m, wiring.flipped(port), inner)
            else:
                connect_stream(m, inner, wiring.flipped(port))
            obey(m, Assume if name in INPUTS else Assert, inner, name)
            moved[name] = Signal(name=f"{name}_moved")
            m.d.comb += moved[name].eq(inner.valid & inner.ready)

        # Heads whose block is under way, the oldest one in place 0.
        heads = Array(Signal(range(HEADS), name=f"head_{k}") for k in range(IN_FLIGHT))
        n = Signal(range(IN_FLIGHT + 1))
        left = Signal(range(IN_FLIGHT + 1))
        m.d.comb += left.eq(n - moved["written"])
        with m.If(moved["written"]):
            m.d.comb += Assert(n != 0)
            m.d.sync += [heads[k].eq(heads[k + 1]) for k in range(IN_FLIGHT - 1)]
        with m.If(moved["write_back"]):
            m.d.comb += Assert(left < IN_FLIGHT)
            m.d.sync += heads[left].eq(dut.write_back.payload.head)
        m.d.sync += n.eq(left + moved["write_back"])

        def is_under_way(head):
            return Cat((n > k) & (heads[k] == head) for k in range(IN_FLIGHT)).any()

        # What comes new: it was not offered in the cycle before.
        for name in ("place", "o_step"):
            of = getattr(dut, name)
            waits = Signal(name=f"{name}_waits")
            busy = Signal(HEADS, name=f"{name}_busy")  # under way in the cycle before
            m.d.sync += [
                waits.eq(of.valid & ~of.ready),
                busy.eq(Cat(is_under_way(head) for head in range(HEADS))),
            ]
            if name == "place":
                late = busy.bit_select(of.payload.head, 1) & ~of.payload.refused
            else:
                late = is_under_way(of.payload.head)
            with m.If(of.valid & ~waits):
                m.d.comb += Assert(~late)

        # A write-back follows the token that fills its block, and that alone.
        owes = Signal()
        owed = Signal.like(dut.write_back.payload)
        with m.If(moved["place"]):
            m.d.comb += Assert(~owes)
            m.d.sync += [
                owes.eq(dut.place.payload.full),
                owed.head.eq(dut.place.payload.head),
                owed.block.eq(dut.place.payload.block),
                owed.slot.eq(1),
            ]
        with m.If(dut.write_back.valid):
            m.d.comb += Assert(owes & (dut.write_back.payload.as_value() == owed.as_value()))
        with m.If(moved["write_back"]):
            m.d.sync += owes.eq(0)
        # A step of a head that fills a block waits, too, unless it was offered before.
        with m.If(dut.o_step.valid & owes):
            m.d.comb += Assert((dut.o_step.payload.head != owed.head) | waits)
        waiting = Mux(n == IN_FLIGHT, moved["written"], 0)
        m.d.comb += self.waited.eq(waiting & moved["o_step"])
        return m


def test_proof(require):
    require("yosys")
    design = emit(TailClaims(), name="claims")
    prove_run(design, depth=14)
    assert witness(design, "waited", depth=14) <= 14
