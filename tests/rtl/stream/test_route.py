from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Route, connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate

SIZES = (1, 2, 3, 5)


class RouteClaims(Component):
    def __init__(self, *, n):
        self.n = n
        self.shape = data.StructLayout({"to": range(n), "item": 2})
        items = stream.Signature(2)
        super().__init__(
            {
                "i": In(stream.Signature(self.shape)),
                "o": Out(items).array(n),
                "moved": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Route(shape=2, n=self.n)
        i = dut.i
        connect_stream(m, wiring.flipped(self.i), i)
        obey(m, Assume, i, "i")
        for k, o in enumerate(dut.o):
            connect_stream(m, o, wiring.flipped(self.o[k]))
            obey(m, Assert, o, f"o_{k}")
            is_mine = i.payload.to == k
            m.d.comb += Assert(o.valid == (i.valid & is_mine))
            with m.If(o.valid):
                m.d.comb += [Assert(o.payload == i.payload.item), Assert(i.ready == o.ready)]
        with m.If(i.payload.to >= self.n):
            m.d.comb += Assert(~i.ready)
        m.d.comb += self.moved.eq(dut.o[-1].valid & dut.o[-1].ready)
        return m


@pytest.mark.parametrize("n", [1, 2, 3])
def test_proof(require, n):
    require("yosys")
    design = emit(RouteClaims(n=n), name="claims")
    prove(design, depth=2)
    assert witness(design, "moved", depth=2) == 1


@pytest.mark.parametrize("n", SIZES)
class TestBehaviour:
    def run(self, n, cycles, sent, **pace):
        """Send pairs of (destination, item)."""
        to_bits = (n - 1).bit_length()
        outputs = [f"o__{k}" for k in range(n)]
        words = [to | item << to_bits for to, item in sent]
        dut = Route(shape=8, n=n)
        logs = simulate(dut, inputs={"i": words}, outputs=outputs, cycles=cycles, pace=pace)
        return logs, [logs[o] for o in outputs]

    def test_who_is_named_gets_it(self, n):
        rng = Random(n)
        sent = [(rng.randrange(n), rng.randrange(256)) for _ in range(40)]
        _, outputs = self.run(n, 300, sent, i=0.7, **{f"o__{k}": 0.4 for k in range(n)})
        for k, o in enumerate(outputs):
            assert o.items == [item for to, item in sent if to == k]

    def test_full_rate_without_latency(self, n):
        logs, outputs = self.run(n, 12, [(item % n, item) for item in range(10)])
        assert logs["i"].cycles == list(range(10))
        assert [o.cycles for o in outputs] == [list(range(k, 10, n)) for k in range(n)]

    def test_never_ready(self, n):
        logs, outputs = self.run(n, 10, [(n - 1, 5)], **{f"o__{n - 1}": 0})
        assert logs["i"].cycles == []
        assert [o.valid_cycles for o in outputs] == [*[[]] * (n - 1), list(range(10))]

    def test_conversion(self, n):
        rtlil.convert(Route(shape=8, n=n))


def test_nobody_takes_what_is_for_nobody():
    logs = simulate(
        Route(shape=8, n=3), inputs={"i": [3]}, outputs=["o__0", "o__1", "o__2"], cycles=5
    )
    assert not any(log.cycles for log in logs.values())


@pytest.mark.parametrize(("n", "error"), [(1.0, TypeError), (-2, ValueError)])
def test_wrong_count(n, error):
    message = f"^Number of destinations must be a positive integer, not {n}$"
    with pytest.raises(error, match=message):
        Route(shape=8, n=n)
