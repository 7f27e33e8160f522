import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.control import BLOCK_REGISTERS, FINISHED, Handshake, Register, values_layout
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness

ARGUMENTS = (Register("a", 0x10, "rw", ""), Register("b", 0x18, "rw", "", width=64))
CALLS = 2


class HandshakeClaims(Component):
    """Every start is one call and one done, none is lost, and a reset forgets them all."""

    def __init__(self):
        told = values_layout(ARGUMENTS[:1])
        orders = dict.fromkeys(("start", "continues", "reads", "resets"), In(1))
        inner = {"start_": In(1), "done_": In(1), "resets_": In(1), "has_some": In(1)}
        inner |= {"has_room": In(1), "n": In(range(CALLS + 1)), "level": In(range(CALLS + 1))}
        inner |= {"room": In(1)}
        self.peek = {"start_": "dut.start", "done_": "dut.done", "resets_": "dut.resets"}
        self.peek |= {"has_some": "dut.has_some", "has_room": "dut.has_room", "n": "dut.n"}
        self.peek |= {"level": "dut.waiting_0.level", "room": "dut.waiting_0.i__ready"}
        super().__init__(
            {
                **orders,
                **inner,
                "arguments": In(told),
                "call": Out(stream.Signature(told)),
                "finished": In(stream.Signature(FINISHED)),
                "is_reset": In(1),
                "full": Out(1),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Handshake(arguments=ARGUMENTS[:1], calls=CALLS)
        m.d.comb += [
            dut.orders.control.ap_start.eq(self.start),
            dut.orders.control.ap_continue.eq(self.continues),
            dut.orders.reads_control.eq(self.reads),
            dut.orders.resets.eq(self.resets),
            dut.arguments.eq(self.arguments),
            dut.is_reset.eq(self.is_reset),
        ]
        connect_stream(m, dut.call, wiring.flipped(self.call))
        connect_stream(m, wiring.flipped(self.finished), dut.finished)
        obey(m, Assert, dut.call, "call")
        obey(m, Assume, dut.finished, "finished")
        call, finished, control = dut.call, dut.finished, dut.state.control

        # The block finishes no more calls than it took.
        running = Signal(range(CALLS + 1))
        takes = Signal()
        gives = Signal()
        m.d.comb += [takes.eq(call.valid & call.ready), gives.eq(finished.valid & finished.ready)]
        m.d.sync += running.eq(running + takes - gives)
        with m.If(running == 0):
            m.d.comb += Assume(~finished.valid)
        # During a reset it drops what it took, and says that it is reset when it has nothing.
        with m.If(dut.reset):
            m.d.sync += running.eq(0)
            m.d.comb += Assume(~finished.valid)
        with m.Else():
            m.d.comb += [
                Assert(self.n == self.level + running),
                Assert(self.has_some == (self.n != 0)),
                Assert(self.has_room == (self.n != CALLS)),
            ]

        # Starts that were not merged with one before = captured + waiting, and so on.
        done_was = Signal()
        continued = Signal()
        gave = Signal()
        was_reset = Signal()
        m.d.sync += [
            done_was.eq(control.ap_done),
            continued.eq(self.continues),
            gave.eq(gives),
            was_reset.eq(dut.reset),
        ]
        with m.If(done_was & ~control.ap_done):
            m.d.comb += Assert(continued | was_reset)
        with m.If(~was_reset & (gave | (done_was & ~continued))):
            m.d.comb += Assert(control.ap_done)
        with m.If(control.ap_done & ~dut.reset):
            m.d.comb += Assert(~finished.ready)
        m.d.comb += [
            Assert(call.valid == (self.level != 0)),
            Assert(self.room == (self.level != CALLS)),
            Assert(self.level <= self.n),
            Assert(self.n <= CALLS),
            Assert(control.ap_idle == ~(self.start_ | self.has_some | self.resets_)),
            Assert(~(self.start_ & self.resets_)),
        ]
        started = Signal()
        m.d.sync += started.eq(self.start & ~dut.reset & ~self.resets)
        with m.If(started):
            m.d.comb += Assert(control.ap_start)
        with m.If(was_reset & ~dut.reset):
            m.d.comb += [
                Assert(~control.ap_start & ~control.ap_done & ~call.valid & (self.n == 0)),
            ]
        m.d.comb += [
            self.full.eq(control.ap_start & ~self.has_room & control.ap_done),
            self.ends.eq(was_reset & ~dut.reset),
        ]
        return m


@pytest.fixture(scope="module")
def claims(require):
    require("yosys")
    wrapper = HandshakeClaims()
    return wrapper, emit(wrapper, name="claims")


def test_proof(claims):
    wrapper, design = claims
    prove(design, depth=6, peek=wrapper.peek)


@pytest.mark.parametrize("port", ["full", "ends"])
def test_witness(claims, port):
    _, design = claims
    assert witness(design, port, depth=12) > 2


class TestRegisters:
    def test_places(self):
        assert {r.name: r.offset for r in BLOCK_REGISTERS} == {
            "control": 0x00,
            "global_interrupt_enable": 0x04,
            "interrupt_enable": 0x08,
            "interrupt_status": 0x0C,
        }
        control = BLOCK_REGISTERS[0]
        fields = ("ap_start", "ap_done", "ap_idle", "ap_ready", "ap_continue")
        assert [control.place(name) for name in fields] == [0, 1, 2, 3, 4]
        assert [BLOCK_REGISTERS[3].place(name) for name in ("done", "ready")] == [0, 1]


class TestConstructor:
    def test_members(self):
        members = Handshake(arguments=ARGUMENTS).signature.members
        layout = data.StructLayout({"a": 32, "b": 64})
        assert members["call"] == Out(stream.Signature(layout))
        assert members["finished"] == In(stream.Signature(data.StructLayout({"code": 8})))
        assert members["arguments"] == In(layout)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"^Calls must be a positive integer, not 0$"):
            Handshake(arguments=ARGUMENTS, calls=0)
        with pytest.raises(ValueError, match=r"^Arguments must be at least one$"):
            Handshake(arguments=())
        said = Register("said", 0x10, "ro", "")
        with pytest.raises(ValueError, match=r"^Arguments must have access rw, and said has ro$"):
            Handshake(arguments=(said,))

    def test_conversion(self):
        design = emit(Handshake(arguments=ARGUMENTS), verilog=True)
        assert "module handshake" in design.verilog
