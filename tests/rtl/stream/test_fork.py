import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Fork, Multicast, connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate

SIZES = (1, 2, 3, 5)


class DeliveryClaims(Component):
    """Every destination takes what it is to have, once, and waits for no other one."""

    def __init__(self, *, n, masked):
        self.n, self.masked = n, masked
        self.shape = data.StructLayout({"to": n, "item": 2}) if masked else 2
        super().__init__(
            {
                "i": In(stream.Signature(self.shape)),
                "o": Out(stream.Signature(2)).array(n),
                "taken": In(n),
                "split": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n = self.n
        m.submodules.dut = dut = Multicast(shape=2, n=n) if self.masked else Fork(shape=2, n=n)
        i = dut.i
        connect_stream(m, wiring.flipped(self.i), i)
        to = i.payload.to if self.masked else Cat([1] * n)
        item = i.payload.item if self.masked else i.payload

        obey(m, Assume, i, "i")
        moved = i.valid & i.ready
        had = Signal(n)  # who already has the item that `i` offers
        missing = Signal(n)
        m.d.comb += Assert(i.ready == (missing == 0))
        for k, o in enumerate(dut.o):
            connect_stream(m, o, wiring.flipped(self.o[k]))
            obey(m, Assert, o, f"o_{k}")
            m.d.comb += missing[k].eq(to[k] & ~had[k] & ~o.ready)
            # Offered at once to whoever lacks it, whatever the others do; to nobody else.
            m.d.comb += Assert(o.valid == (i.valid & to[k] & ~had[k]))
            with m.If(o.valid):
                m.d.comb += Assert(o.payload == item)
            m.d.sync += had[k].eq(~moved & (had[k] | (o.valid & o.ready)))
            with m.If(moved & to[k]):
                m.d.comb += Assert(had[k] | (o.valid & o.ready))

        m.d.comb += self.split.eq(moved & (had != 0))
        # The inner state: a destination that has nothing to take may be marked as well.
        m.d.comb += [Assert((had & ~self.taken) == 0), Assert((self.taken & to & ~had) == 0)]
        m.d.comb += Assert(i.valid | (self.taken == 0))
        return m


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_proof(require, n, masked):
    require("yosys")
    design = emit(DeliveryClaims(n=n, masked=masked), name="claims")
    prove(design, depth=4, peek={"taken": "dut.group_0.taken"})
    if n > 1:
        assert witness(design, "split", depth=4) == 2


@pytest.mark.parametrize("n", SIZES)
class TestFork:
    items = [Random(1).randrange(256) for _ in range(30)]

    def run(self, n, cycles, **pace):
        outputs = [f"o__{k}" for k in range(n)]
        dut = Fork(shape=8, n=n)
        logs = simulate(dut, inputs={"i": self.items}, outputs=outputs, cycles=cycles, pace=pace)
        return logs, [logs[o] for o in outputs]

    def test_everyone_gets_everything(self, n):
        paces = {f"o__{k}": 0.2 + 0.6 * k / n for k in range(n)}
        _, outputs = self.run(n, 400, i=0.8, **paces)
        assert [o.items for o in outputs] == [self.items] * n

    def test_full_rate_without_latency(self, n):
        logs, outputs = self.run(n, 40)
        assert [o.cycles for o in outputs] == [list(range(30))] * n
        assert logs["i"].cycles == list(range(30))

    def test_slow_destination_blocks_no_acceptance(self, n):
        logs, outputs = self.run(n, 20, o__0=0)
        assert [o.cycles for o in outputs] == [[], *[[0]] * (n - 1)]
        assert outputs[0].valid_cycles == list(range(20))
        assert logs["i"].cycles == []

    def test_conversion(self, n):
        rtlil.convert(Fork(shape=8, n=n))


@pytest.mark.parametrize("n", SIZES)
class TestMulticast:
    def run(self, n, cycles, sent, **pace):
        """Send pairs of (destinations, item)."""
        outputs = [f"o__{k}" for k in range(n)]
        dut = Multicast(shape=8, n=n)
        words = [to | item << n for to, item in sent]
        logs = simulate(dut, inputs={"i": words}, outputs=outputs, cycles=cycles, pace=pace)
        return logs, [logs[o] for o in outputs]

    def test_who_is_named_gets_it(self, n):
        rng = Random(n)
        sent = [(rng.randrange(1 << n), rng.randrange(256)) for _ in range(30)]
        paces = {f"o__{k}": 0.2 + 0.6 * k / n for k in range(n)}
        logs, outputs = self.run(n, 400, sent, i=0.8, **paces)
        assert len(logs["i"].items) == 30
        for k, o in enumerate(outputs):
            assert o.items == [item for to, item in sent if to >> k & 1]

    def test_full_rate_without_latency(self, n):
        everyone = (1 << n) - 1
        _, outputs = self.run(n, 12, [(everyone, item) for item in range(10)])
        assert [o.cycles for o in outputs] == [list(range(10))] * n

    def test_nobody(self, n):
        logs, outputs = self.run(n, 5, [(0, 7), (0, 8), (1, 9)])
        assert logs["i"].cycles == [0, 1, 2]
        assert [o.items for o in outputs] == [[9], *[[]] * (n - 1)]

    def test_only_named_destinations_block(self, n):
        logs, outputs = self.run(n, 10, [(1, 1), ((1 << n) - 1, 2), (1, 3)], **{f"o__{n - 1}": 0})
        if n > 1:
            assert [o.items for o in outputs] == [[1, 2], *[[2]] * (n - 2), []]
            assert logs["i"].cycles == [0]
            assert outputs[-1].valid_cycles == list(range(1, 10))

    def test_conversion(self, n):
        rtlil.convert(Multicast(shape=8, n=n))


@pytest.mark.parametrize("part", [Fork, Multicast])
@pytest.mark.parametrize(("n", "error"), [("2", TypeError), (True, TypeError), (0, ValueError)])
def test_wrong_count(part, n, error):
    message = re.escape(f"Number of destinations must be a positive integer, not {n!r}")
    with pytest.raises(error, match=f"^{message}$"):
        part(shape=8, n=n)
