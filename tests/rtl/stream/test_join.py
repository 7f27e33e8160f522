import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Fork, Join, connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate

STRUCTS = [{"a": 8}, {"a": 8, "b": 3}, {"a": 1, "b": data.ArrayLayout(2, 2), "c": 4}]


class JoinClaims(Component):
    def __init__(self, *, shape):
        self.shape = shape
        inputs = {f"i_{name}": In(stream.Signature(s)) for name, s in shape.members.items()}
        super().__init__({**inputs, "o": Out(stream.Signature(shape)), "moved": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Join(shape=self.shape)
        o = dut.o
        connect_stream(m, o, wiring.flipped(self.o))
        obey(m, Assert, o, "o")
        m.d.comb += self.moved.eq(o.valid & o.ready)
        all_valid = 1
        for name in self.shape.members:
            i = getattr(dut, f"i_{name}")
            connect_stream(m, wiring.flipped(getattr(self, f"i_{name}")), i)
            obey(m, Assume, i, f"i_{name}")
            all_valid &= i.valid
            # One item of every input moves with every struct, and never else.
            m.d.comb += Assert((i.valid & i.ready) == self.moved)
            with m.If(o.valid):
                m.d.comb += Assert(o.payload[name] == i.payload)
        m.d.comb += Assert(o.valid == all_valid)
        return m


@pytest.mark.parametrize("n", [1, 2, 3])
def test_proof(require, n):
    require("yosys")
    shape = data.StructLayout({"abc"[k]: k + 1 for k in range(n)})
    design = emit(JoinClaims(shape=shape), name="claims")
    prove(design, depth=2)
    assert witness(design, "moved", depth=2) == 1


@pytest.mark.parametrize("fields", STRUCTS, ids=len)
class TestBehaviour:
    def run(self, fields, cycles, n=30, **pace):
        shape = data.StructLayout(fields)
        rng = Random(len(fields))
        structs = [rng.randrange(1 << shape.size) for _ in range(n)]
        inputs = {
            f"i_{name}": [x >> f.offset & (1 << f.width) - 1 for x in structs] for name, f in shape
        }
        logs = simulate(Join(shape=shape), inputs=inputs, outputs=["o"], cycles=cycles, pace=pace)
        return structs, logs

    def test_structs(self, fields):
        structs, logs = self.run(fields, 200, i_a=0.5, i_b=0.8, i_c=0.3, o=0.7)
        assert logs["o"].items == structs
        assert all(log.cycles == logs["o"].cycles for log in logs.values())

    def test_full_rate_without_latency(self, fields):
        _, logs = self.run(fields, 40)
        assert logs["o"].cycles == list(range(30))

    def test_never_ready(self, fields):
        _, logs = self.run(fields, 10, o=0)
        assert logs["o"].valid_cycles == list(range(10))
        assert not any(log.cycles for log in logs.values())

    def test_one_input_without_items(self, fields):
        _, logs = self.run(fields, 10, i_a=0)
        assert logs["o"].valid_cycles == []
        assert not any(log.cycles for log in logs.values())

    def test_conversion(self, fields):
        rtlil.convert(Join(shape=data.StructLayout(fields)))


class ForkAndJoin(Component):
    """Paths that part and meet again: no circle of combinational logic, no deadlock."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fork = fork = Fork(shape=8, n=2)
        m.submodules.join = join = Join(shape=data.StructLayout({"a": 8, "b": 8}))
        connect_stream(m, wiring.flipped(self.i), fork.i)
        connect_stream(m, fork.o[0], join.i_a)
        connect_stream(m, fork.o[1], join.i_b)
        wiring.connect(m, join.o, wiring.flipped(self.o))
        return m


def test_fork_and_join():
    rtlil.convert(ForkAndJoin())
    logs = simulate(
        ForkAndJoin(), inputs={"i": [1, 2, 3]}, outputs=["o"], cycles=20, pace={"o": 0.4}
    )
    assert logs["o"].items == [0x101, 0x202, 0x303]


@pytest.mark.parametrize("shape", [8, data.ArrayLayout(8, 2), {"a": 8}.items()])
def test_no_struct(shape):
    message = re.escape(f"Shape must be a StructLayout, not {shape!r}")
    with pytest.raises(TypeError, match=f"^({message}|Parameter 'shape' must be immutable, .*)$"):
        Join(shape=shape)


def test_no_field():
    with pytest.raises(ValueError, match=r"^Shape must have a field, unlike StructLayout\(\{\}\)$"):
        Join(shape=data.StructLayout({}))
