import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Merge, connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import simulate

SIZES = (1, 2, 3, 5)


class MergeClaims(Component):
    def __init__(self, *, n):
        self.n = n
        self.shape = data.StructLayout({"index": range(n), "item": 2})
        super().__init__(
            {
                "i": In(stream.Signature(2)).array(n),
                "o": Out(stream.Signature(self.shape)),
                "chosen": In(n),
                "above": In(n),
                "overtaken_by_all": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n = self.n
        m.submodules.dut = dut = Merge(shape=2, n=n)
        o = dut.o
        connect_stream(m, o, wiring.flipped(self.o))
        obey(m, Assert, o, "o")
        index = o.payload.index
        moved = o.valid & o.ready
        # Whoever waits is offered a cycle later, or somebody else is.
        waits = Signal()
        m.d.sync += waits.eq(Cat(i.valid for i in dut.i).any() & ~o.valid)
        with m.If(waits):
            m.d.comb += Assert(o.valid)
        with m.If(o.valid):
            m.d.comb += Assert(index < n)

        for k, i in enumerate(dut.i):
            connect_stream(m, wiring.flipped(self.i[k]), i)
            obey(m, Assume, i, f"i_{k}")
            m.d.comb += Assert((i.valid & i.ready) == (moved & (index == k)))
            with m.If(o.valid & (index == k)):
                m.d.comb += Assert(o.payload.item == i.payload)

        # Fair: nobody passes a waiting item twice.
        passed = [Signal(n, name=f"passed_{k}") for k in range(n)]
        for k, i in enumerate(dut.i):
            with m.If(~i.valid | i.ready):
                m.d.sync += passed[k].eq(0)
            with m.Elif(moved):
                m.d.sync += passed[k].bit_select(index, 1).eq(1)
                m.d.comb += Assert(~passed[k].bit_select(index, 1))
        m.d.comb += self.overtaken_by_all.eq(sum(passed[0]) == n - 1)

        self.claim_inner(m, passed)
        return m

    def claim_inner(self, m, passed):
        """Whoever passed `k` comes after it, and before the input whose turn it is."""
        n = self.n
        m.d.comb += Assert(self.chosen != 0)
        for at in range(n):
            with m.If(self.chosen[at]):
                m.d.comb += Assert(self.chosen == 1 << at)
                m.d.comb += Assert(self.above == (1 << n) - (2 << at))
            for k in range(n):
                between = [(k + step) % n for step in range(1, (at - k) % n or n)]
                with m.If(self.chosen[at]):
                    m.d.comb += Assert((passed[k] & ~sum(1 << j for j in between)) == 0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_proof(require, n):
    require("yosys")
    design = emit(MergeClaims(n=n), name="claims")
    prove(design, depth=4, peek={"chosen": "dut.chosen", "above": "dut.above"})
    assert witness(design, "overtaken_by_all", depth=n + 3) >= n


@pytest.mark.parametrize("n", SIZES)
class TestBehaviour:
    def run(self, n, cycles, sent, **pace):
        """Send a list of items to each input; return pairs of (index, item) too."""
        index_bits = (n - 1).bit_length()
        inputs = {f"i__{k}": items for k, items in enumerate(sent)}
        dut = Merge(shape=8, n=n)
        logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=cycles, pace=pace)
        got = [(x & (1 << index_bits) - 1, x >> index_bits) for x in logs["o"].items]
        return logs, got

    def test_all_items_in_the_order_of_their_input(self, n):
        rng = Random(n)
        sent = [[rng.randrange(256) for _ in range(20)] for _ in range(n)]
        paces = {f"i__{k}": 0.1 + 0.8 * k / n for k in range(n)}
        _, got = self.run(n, 500, sent, o=0.7, **paces)
        assert len(got) == 20 * n
        for k in range(n):
            assert [item for index, item in got if index == k] == sent[k]

    def test_full_rate_without_latency_in_turn(self, n):
        logs, got = self.run(n, 5 * n + 3, [range(5)] * n)
        assert logs["o"].cycles == list(range(5 * n))
        assert got == [(k, item) for item in range(5) for k in range(n)]

    def test_one_input_alone_has_full_rate(self, n):
        sent = [[]] * (n - 1) + [range(10)]
        logs, got = self.run(n, 12, sent)
        latency = int(n > 1)  # after reset, it is the first one's turn
        assert logs["o"].cycles == list(range(latency, latency + 10))
        assert got == [(n - 1, item) for item in range(10)]

    def test_never_ready(self, n):
        logs, _ = self.run(n, 20, [range(5)] * n, o=0, **{f"i__{k}": 0.3 for k in range(n)})
        first = logs["o"].valid_cycles[0]
        assert logs["o"].valid_cycles == list(range(first, 20))
        came = [logs[f"i__{k}"].valid_cycles[0] for k in range(n)]
        assert first == min(came[0], min(came) + 1)

    def test_conversion(self, n):
        rtlil.convert(Merge(shape=8, n=n))


@pytest.mark.parametrize(("n", "error"), [("2", TypeError), (None, TypeError), (0, ValueError)])
def test_wrong_count(n, error):
    message = re.escape(f"Number of inputs must be a positive integer, not {n!r}")
    with pytest.raises(error, match=f"^{message}$"):
        Merge(shape=8, n=n)
