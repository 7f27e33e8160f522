"""The selector keeps its definition, whatever it is asked: proofs of tiny ones, cycle by cycle.

They are bounded: one selection after a reset, of all masses, shares and numbers that there are.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.selector import CoverageSelector
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove_run, witness
from qkloom.tb.index.code import decode

GAMMA_STEP = 13
"""Low bits of a share that are 0: the solver takes five times as long for all of them."""


class SelectorClaims(Component):
    """A source that sends candidates as often as it is to, and the definition beside it.

    What is asked and the candidates are free in the cycle in which the start is taken, and stay so.

    Parameters
    ----------
    n : int
        Candidates.
    value_width, digit_bits : int
        Of the selector.
    waits : int
        Cycles in which the source, or one that takes, is not willing; any ones, so many in all.
    """

    def __init__(self, *, n, value_width, digit_bits, waits):
        self.n, self.waits = n, waits
        self.dut = dut = CoverageSelector(
            candidates=n,
            value_width=value_width,
            fraction=1,
            total_width=value_width + (n - 1).bit_length(),
            digit_bits=digit_bits,
        )
        members = dut.signature.members
        code = dut.i.payload.shape()["code"].width
        self.sums = data.StructLayout(
            {"count": len(dut.result.payload.count), "mass": len(dut.result.payload.mass)}
        )
        inner = {
            "target": In(dut.parameters["total_width"]),
            "threshold": In(code),
            "ahead": In(self.sums),
            "is_bins": In(1),
            "is_decode": In(1),
        }
        self.peek = {name: f"dut.{name}" for name in inner} | {"target": "dut.share.share"}
        candidate = data.StructLayout({"code": code, "always": 1})
        super().__init__(
            {
                "start": members["start"],
                "candidates": In(data.ArrayLayout(candidate, n)),
                "unwilling": In(3),
                "done": Out(1),
                **inner,
            }
        )

    @property
    def cycles(self):
        """From the reset to the transfer of the result; the source begins after the start."""
        dut = self.dut
        bins = 1 << dut.parameters["digit_bits"]
        work = dut.passes * self.n + dut.digits * bins + dut.overhead
        return (bins + 1) + work + 1 + self.waits

    def elaborate(self, platform):
        m = Module()
        n = self.n
        m.submodules.dut = dut = self.dut
        m.d.comb += Assume(~ResetSignal())

        # Whoever offers something goes on doing so.
        waited = Signal(range(self.waits + 1))
        offered = Signal()
        m.d.sync += [
            waited.eq(waited + self.unwilling.any()),
            offered.eq(dut.i.valid & ~dut.i.ready),
        ]
        m.d.comb += Assume((self.unwilling == 0) | (waited < self.waits))

        there = Signal()
        asked = Signal(self.start.payload.shape())
        candidates = Signal(self.candidates.shape())
        sent = Signal(range(n))
        is_last = Signal()
        connect_stream(m, wiring.flipped(self.start), dut.start)
        m.d.comb += [
            Assume(self.start.valid == ~there),
            Assume(self.start.payload.gamma <= 65536),
            Assume(self.start.payload.gamma[:GAMMA_STEP] == 0),
            is_last.eq(sent == n - 1),
            dut.i.valid.eq(there & (offered | ~self.unwilling[0])),
            dut.i.payload.code.eq(candidates[sent].code),
            dut.i.payload.always.eq(candidates[sent].always),
            dut.i.payload.last.eq(is_last),
            dut.o.ready.eq(~self.unwilling[1]),
            dut.result.ready.eq(~self.unwilling[2]),
        ]
        with m.If(self.start.valid & dut.start.ready):
            m.d.sync += [
                there.eq(1),
                candidates.eq(self.candidates),
                asked.eq(self.start.payload),
            ]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += sent.eq(Mux(is_last, 0, sent + 1))

        wanted = self.define(m, asked, candidates)
        self.claim_inner(m, asked, candidates, wanted)

        for name in ("o", "result"):
            obey(m, Assert, getattr(dut, name), name)
        seen = Signal(range(n + 1))
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(seen < n),
                Assert(dut.o.payload.taken == wanted["taken"].bit_select(seen, 1)),
                Assert(dut.o.payload.last == (seen == n - 1)),
            ]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += seen.eq(seen + 1)
        result = dut.result.payload
        with m.If(dut.result.valid):
            # All have been decided about; the last two may wait.
            m.d.comb += [Assert(~self.done), Assert(seen + 2 * dut.o.valid >= n)]
            m.d.comb += [Assert(result[name] == wanted[name]) for name in result.shape().members]
        with m.If(dut.result.valid & dut.result.ready):
            m.d.sync += self.done.eq(1)
        return m

    def define(self, m, asked, candidates):
        """Return what must come: of each candidate by those before it in the order."""
        n, value_width = self.n, self.dut.parameters["value_width"]
        masses = Signal(data.ArrayLayout(value_width, n))
        for k in range(n):
            with m.Switch(candidates[k].code):
                codes = range(1 << len(candidates[k].code))
                for code, mass in enumerate(decode(codes, fraction=1).tolist()):
                    with m.Case(code):
                        if mass >> value_width:
                            m.d.comb += Assume(0)  # of no value
                        else:
                            m.d.comb += masses[k].eq(mass)
        total, target = Signal(self.sums["mass"].shape), Signal(self.sums["mass"].shape)
        m.d.comb += [
            total.eq(sum(masses[k] for k in range(n))),
            target.eq((asked.gamma * total + 65535) >> 16),
        ]
        taken = Signal(n)
        for k, mine in enumerate(candidates[k] for k in range(n)):
            before = Signal(n, name=f"before_{k}")
            ahead = Signal(self.sums, name=f"ahead_of_{k}")
            for j, other in enumerate(candidates[j] for j in range(n)):
                if j != k:
                    is_larger = other.code > mine.code if j > k else other.code >= mine.code
                    m.d.comb += before[j].eq(other.always | is_larger)
            m.d.comb += self.sum_up(ahead, before, masses)
            is_below = (asked.gamma == 65536) | (ahead.mass < target)
            rule = (is_below & (ahead.count < asked.most)) | (ahead.count < asked.least)
            m.d.comb += taken[k].eq(mine.always | rule)
        sums = Signal(self.sums)
        flat = Signal()
        m.d.comb += self.sum_up(sums, taken, masses)
        m.d.comb += flat.eq(Cat(candidates[k].code != candidates[0].code for k in range(n)) == 0)
        wanted = {"taken": taken, "count": sums.count, "mass": sums.mass, "total": total}
        return wanted | {"flat": flat, "target": target, "masses": masses}

    def sum_up(self, sums, which, masses):
        return [
            sums.count.eq(sum(which)),
            sums.mass.eq(sum(Mux(bit, masses[k], 0) for k, bit in enumerate(which))),
        ]

    def claim_inner(self, m, asked, candidates, wanted):
        """What is known between the passes; it takes a share of the solver's work."""
        result = self.dut.result.payload
        with m.If(self.is_bins):
            m.d.comb += [
                Assert((asked.gamma == 65536) | (self.target == wanted["target"])),
                Assert(result.total == wanted["total"]),
                Assert(result.flat == wanted["flat"]),
            ]
        above = Signal(self.n)
        sums = Signal(self.sums)
        m.d.comb += self.sum_up(sums, above, wanted["masses"])
        with m.If(self.is_decode):
            m.d.comb += Assert(self.ahead == sums)
        for k in range(self.n):
            mine = candidates[k]
            m.d.comb += above[k].eq(mine.always | (mine.code > self.threshold))
            with m.If(self.is_decode & (mine.always | (mine.code != self.threshold))):
                m.d.comb += Assert(wanted["taken"][k] == above[k])


@pytest.mark.parametrize(
    ("n", "value_width", "digit_bits", "waits"),
    [(1, 2, 1, 1), (2, 2, 1, 1), (3, 2, 2, 0), (3, 2, 1, 0)],
)
def test_definition(require, n, value_width, digit_bits, waits):
    require("yosys")
    claims = SelectorClaims(n=n, value_width=value_width, digit_bits=digit_bits, waits=waits)
    design = emit(claims, name="claims")
    prove_run(design, depth=claims.cycles, peek=claims.peek)
    if n < 3:
        assert witness(design, "done", depth=claims.cycles + 1) == claims.cycles + 1 - waits
