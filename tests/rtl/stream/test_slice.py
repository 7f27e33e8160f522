import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import RegisterSlice, connect_stream
from qkloom.tb.formal import follow, obey, prove, witness
from qkloom.tb.simulate import simulate

ITEMS = [Random(1).randrange(256) for _ in range(40)]
LATENCY = {"full": 1, "forward": 1, "reverse": 0, "half": 1}
ROOM = {"full": 2, "forward": 1, "reverse": 1, "half": 1}


class SliceClaims(Component):
    def __init__(self, *, mode):
        self.mode = mode
        items = stream.Signature(2)
        inner = {"stored": In(2)}
        ports = {"i": In(items), "o": Out(items), "pick": In(1), "is_full": Out(1)}
        super().__init__({**ports, **inner})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = RegisterSlice(shape=2, mode=self.mode)
        i, o = dut.i, dut.o
        connect_stream(m, wiring.flipped(self.i), i)
        connect_stream(m, o, wiring.flipped(self.o))

        obey(m, Assume, i, "i")
        obey(m, Assert, o, "o")
        f = follow(m, i, o, pick=self.pick, most=ROOM[self.mode])
        m.d.comb += self.is_full.eq(f.active & (f.inside == ROOM[self.mode]) & (f.ahead == 0))

        # What is cut: a path that is not in these equations is not in the slice.
        has_room = f.inside != ROOM[self.mode]
        ready = {"forward": has_room | o.ready}.get(self.mode, has_room)
        valid = {"reverse": (f.inside != 0) | i.valid}.get(self.mode, f.inside != 0)
        m.d.comb += [Assert(i.ready == ready), Assert(o.valid == valid)]

        with m.If(f.active):
            m.d.comb += Assert(Mux(f.ahead == 0, o.payload, self.stored) == f.item)
        return m


@pytest.mark.parametrize("mode", RegisterSlice.modes)
class TestModes:
    def run(self, mode, cycles, **pace):
        dut = RegisterSlice(shape=8, mode=mode)
        return simulate(dut, inputs={"i": ITEMS}, outputs=["o"], cycles=cycles, pace=pace)

    def test_proof(self, require, mode):
        require("yosys")
        design = emit(SliceClaims(mode=mode), name="claims")
        prove(design, depth=4, peek={"stored": "dut.stored"})
        assert witness(design, "is_full", depth=5) == ROOM[mode] + 1

    @pytest.mark.parametrize(("i", "o"), [(0.5, 0.5), (1, 0.3), (0.3, 1)])
    def test_order(self, mode, i, o):
        assert self.run(mode, 250, i=i, o=o)["o"].items == ITEMS

    def test_rate(self, mode):
        logs = self.run(mode, 100)
        step = 2 if mode == "half" else 1
        assert logs["o"].items == ITEMS
        assert logs["o"].cycles == [LATENCY[mode] + step * n for n in range(len(ITEMS))]

    def test_never_ready(self, mode):
        logs = self.run(mode, 20, o=0)
        assert logs["o"].valid_cycles == list(range(LATENCY[mode], 20))
        assert logs["i"].cycles == list(range(ROOM[mode]))

    def test_conversion(self, mode):
        rtlil.convert(RegisterSlice(shape=8, mode=mode))


@pytest.mark.parametrize("mode", ["both", "", None, 1])
def test_wrong_mode(mode):
    message = f"Mode must be one of full, forward, reverse, half, not {mode!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RegisterSlice(shape=8, mode=mode)
