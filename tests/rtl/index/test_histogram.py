import re
from random import Random

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.histogram import Histogram
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import prove, witness


def run(dut, rounds, *, gap=0.0, seed=0):
    """Add the items of each round, then sweep; return per round (bin, count, mass, last)."""
    rng = Random(seed)
    found, told = [], []
    busy = []

    async def drive(ctx):
        i, o = dut.i, dut.o

        async def tick():
            _, _, valid, *told_now, is_busy = await ctx.tick().sample(
                o.valid, o.payload.bin, o.payload.count, o.payload.mass, o.payload.last, dut.busy
            )
            busy.append(is_busy)
            if valid:
                told.append(tuple(told_now))

        for items in rounds:
            while ctx.get(dut.busy):
                await tick()
            found.append(told.copy())
            told.clear()
            for at, mass in items:
                while rng.random() < gap:
                    ctx.set(i.valid, 0)
                    ctx.set(i.payload.bin, rng.getrandbits(dut.parameters["bin_bits"]))
                    await tick()
                ctx.set(i.valid, 1)
                ctx.set(i.payload, {"bin": at, "mass": mass})
                await tick()
            ctx.set(i.valid, 0)
            ctx.set(dut.sweep, 1)
            await tick()
            ctx.set(dut.sweep, 0)
        while ctx.get(dut.busy):
            await tick()
        found.append(told.copy())

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert not found[0]
    return found[1:], busy


def expected(items, *, bin_bits, count_width, mass_width):
    rows = []
    for at in reversed(range(1 << bin_bits)):
        masses = [mass for where, mass in items if where == at]
        count, mass = len(masses) % (1 << count_width), sum(masses) % (1 << mass_width)
        rows.append((at, count, mass, int(at == 0)))
    return rows


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("bins", [1, 2, 8])
@pytest.mark.parametrize("bin_bits", [1, 2, 5])
def test_sums(bin_bits, bins, gap):
    rng = Random(bins)
    sizes = {"bin_bits": bin_bits, "count_width": 5, "mass_width": 9}
    rounds = []
    for n in (0, 1, 2, 3, 25, 25, 40):
        # All in one bin, in two by turns, or anywhere.
        some = [rng.randrange(1 << bin_bits) for _ in range(bins)]
        rounds.append([(rng.choice(some), rng.getrandbits(7)) for _ in range(n)])
    found, busy = run(Histogram(**sizes), rounds, gap=gap)
    assert found == [expected(items, **sizes) for items in rounds]
    # A sweep, and the one after the reset.
    assert busy.count(1) == (len(rounds) + 1) * ((1 << bin_bits) + 1)


def test_the_ends_of_the_memory_right_before_and_after_a_sweep():
    sizes = {"bin_bits": 2, "count_width": 3, "mass_width": 4}
    rounds = [[(3, 1), (3, 2)], [(0, 3), (0, 4), (3, 5)], [(0, 6)], [(3, 7)]]
    found, _ = run(Histogram(**sizes), rounds)
    assert found == [expected(items, **sizes) for items in rounds]


def test_conversion():
    assert emit(Histogram(bin_bits=8, count_width=13, mass_width=32)).ports


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bin_bits": 0}, ValueError, "Bits of a bin must be a positive integer, not 0"),
        ({"bin_bits": 17}, ValueError, "Bits of a bin must be at most 16, not 17"),
        ({"count_width": "1"}, TypeError, "Count width must be a positive integer, not '1'"),
        ({"mass_width": 0}, ValueError, "Mass width must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Histogram(**{"bin_bits": 2, "count_width": 3, "mass_width": 4, **changes})


class HistogramClaims(Component):
    """What is told of each bin is what came since it was told last; never two sums of one bin."""

    INNER = ("sweeps", "is_told", "place", "is_end", "swept", "adds", "at", "mass", "old")

    def __init__(self, *, bin_bits, count_width, mass_width):
        self.dut = Histogram(bin_bits=bin_bits, count_width=count_width, mass_width=mass_width)
        self.widths = bin_bits, count_width, mass_width
        sizes = {"place": bin_bits, "at": bin_bits, "mass": mass_width}
        sizes["old"] = count_width + mass_width
        inner = {name: In(sizes.get(name, 1)) for name in self.INNER}
        words = {"word": In(count_width + mass_width).array(1 << bin_bits)}
        members = self.dut.signature.members
        ports = {name: members[name] for name in ("i", "sweep", "o")}
        super().__init__({**ports, **inner, **words, "full_told": Out(1)})
        self.peek = {name: f"dut.{name}" for name in self.INNER}
        self.peek |= {f"word__{k}": f"dut.storage[{k}]" for k in range(1 << bin_bits)}

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        bin_bits, count_width, mass_width = self.widths
        connect_stream(m, wiring.flipped(self.i), dut.i)
        connect_stream(m, dut.o, wiring.flipped(self.o))
        m.d.comb += [
            dut.sweep.eq(self.sweep),
            Assume(~(dut.i.valid & dut.busy)),
            Assume(~(self.sweep & (dut.busy | dut.i.valid))),
            Assert(dut.busy == (self.sweeps | self.swept)),
            Assert(~(self.adds & (self.sweeps | self.swept))),
            Assert(self.is_end == (self.sweeps & (self.place == 0))),
        ]
        with m.If(~self.sweeps):
            m.d.comb += Assert(self.place == (1 << bin_bits) - 1)
        with m.If(self.swept & self.sweeps):
            m.d.comb += Assert(self.at == (self.place + 1)[:bin_bits])
            m.d.comb += Assert(self.at != 0)
        with m.If(self.swept & ~self.sweeps):
            m.d.comb += Assert(self.at == 0)

        o = dut.o.payload
        full = []
        for k, word in enumerate(self.word):
            count = Signal(count_width, name=f"count_{k}")
            mass = Signal(mass_width, name=f"mass_{k}")
            is_here, is_told = Signal(name=f"is_here_{k}"), Signal(name=f"is_told_{k}")
            m.d.comb += [
                is_here.eq(self.at == k),
                is_told.eq(dut.o.valid & (o.bin == k)),
            ]
            with m.If(is_told):
                m.d.comb += [Assert(o.count == count), Assert(o.mass == mass)]
                m.d.comb += Assert(o.last == (k == 0))
                m.d.sync += [count.eq(0), mass.eq(0)]
            with m.If(dut.i.valid & (dut.i.payload.bin == k)):
                m.d.sync += [count.eq(count + 1), mass.eq(mass + dut.i.payload.mass)]
            # What a sweep after a reset has not cleared yet means nothing.
            is_rubbish = ~self.is_told & (
                (self.sweeps & (self.place >= k)) | (self.swept & is_here)
            )
            stored_count, stored_mass = word[:count_width], word[count_width:]
            adds = self.adds & is_here
            with m.If(~is_rubbish):
                m.d.comb += [
                    Assert((stored_count + adds)[:count_width] == count),
                    Assert((stored_mass + Mux(adds, self.mass, 0))[:mass_width] == mass),
                ]
            with m.Else():
                m.d.comb += Assert((count == 0) & (mass == 0))
            with m.If(adds | (self.swept & self.is_told & is_here)):
                m.d.comb += Assert(self.old == word)
            full.append(is_told & (count == (1 << count_width) - 1))
        m.d.comb += self.full_told.eq(sum(full) != 0)
        return m


@pytest.mark.parametrize("bin_bits", [1, 2])
def test_proof(require, bin_bits):
    require("yosys")
    claims = HistogramClaims(bin_bits=bin_bits, count_width=2, mass_width=3)
    design = emit(claims, name="claims")
    prove(design, depth=3, peek=claims.peek)
    # Three of one bin are told: after a reset's sweep and three that came.
    assert witness(design, "full_told", depth=14) > 5
