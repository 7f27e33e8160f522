import signal
import sys

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.tb.tensors import InputError
from qkloom.tb.waves import Counts, StreamWave, Waves, format_table

# valid and ready of the ports, cycle by cycle: one character is one cycle
VALID = [int(c) for c in "0111001011"]
READY = [int(c) for c in "1101001101"]
# Starved in cycles 0 and 7, blocked in 2 and 8, idle in 4 and 5.
PORTS = Counts(transfers=4, starved=2, blocked=2, idle=2)


class Stage(wiring.Component):
    """Pass items on at once, and report each one a cycle later."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    o_tap: Out(stream.Signature(8, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        m.d.sync += self.o_tap.valid.eq(self.i.valid & self.i.ready)
        m.d.sync += self.o_tap.payload.eq(self.i.payload)
        return m


class Chain(wiring.Component):
    """Two stages: every scope has an ``i``, and the outer ones are not the inner ones."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Stage()
        m.submodules.last = last = Stage()
        wiring.connect(m, wiring.flipped(self.i), first.i)
        # Every second item is lost on the way, so that the stages differ.
        m.d.comb += [
            last.i.payload.eq(first.o.payload),
            last.i.valid.eq(first.o.valid & first.o.payload[0]),
            first.o.ready.eq(last.i.ready),
        ]
        wiring.connect(m, last.o, wiring.flipped(self.o))
        return m


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    dut = Chain()

    async def drive(ctx):
        for n, (valid, ready) in enumerate(zip(VALID, READY, strict=True)):
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.i.payload, n)
            ctx.set(dut.o.ready, ready)
            await ctx.tick()

    path = tmp_path_factory.mktemp("waves") / "chain.vcd"
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    with simulator.write_vcd(str(path)):
        simulator.run()
    return Waves(path)


class TestAmaranth:
    def test_streams(self, chain):
        assert chain.cycles == len(VALID)
        ports = [f"bench.top{unit}.{x}" for unit in ("", ".first", ".last") for x in ("i", "o")]
        taps = [f"bench.top.{unit}.o_tap" for unit in ("first", "last")]
        assert sorted(chain.streams) == sorted(ports + taps)

    def test_states(self, chain):
        moved = [v & r for v, r in zip(VALID, READY, strict=True)]
        odd = [v & n & 1 for n, v in enumerate(VALID)]
        for name, valid in {"top.i": VALID, "first.o": VALID, "last.i": odd, "top.o": odd}.items():
            assert chain.stream(name).valid.tolist() == valid
            assert chain.stream(name).ready.tolist() == READY
        assert chain.stream("top.i").counts() == PORTS
        assert chain.stream("bench.top.first.i").counts() == PORTS
        assert chain.stream("top.i").state("transfer").tolist() == moved
        tap = chain.stream("first.o_tap")
        assert tap.ready.all() and tap.valid.tolist() == [0, *moved[:-1]]
        assert tap.counts() == Counts(transfers=3, starved=7, blocked=0, idle=0)

    def test_window(self, chain):
        assert chain.counts(slice(2, 6))["bench.top.i"] == Counts(1, 0, 1, 2)
        assert chain.counts(slice(-1, None))["bench.top.i"].utilization == 1.0
        assert chain.counts(slice(0, 0))["bench.top.i"].utilization == 0.0
        assert chain.span("top.i") == slice(1, 10)
        assert chain.span("last.i", "first.o_tap") == slice(1, 10)
        assert chain.span() == slice(0, 0)

    def test_unit(self, chain):
        unit = chain.unit("top.first")
        assert (unit.busy, unit.blocked, unit.starved, unit.held, unit.idle) == (4, 2, 2, 0, 2)
        assert unit.cycles == chain.cycles and unit.utilization == 0.4
        # Without its outputs, waiting for them is the unit's own affair.
        unit = chain.unit("first", inputs=["i"], outputs=["o_tap"], window=slice(2, 9))
        assert (unit.busy, unit.blocked, unit.starved, unit.held, unit.idle) == (2, 0, 1, 2, 2)
        assert chain.unit("bench.top", work="o").busy == chain.stream("top.o").counts().transfers

    def test_table(self, chain):
        head, *rows = format_table(chain.counts()).splitlines()
        assert head.split() == ["stream", "transfers", "starved", "blocked", "idle", "utilization"]
        assert ["bench.top.i", "4", "2", "2", "2", "40.0%"] in [row.split() for row in rows]
        assert len({len(row) for row in [head, *rows]}) == 1

    def test_unknown_names(self, chain):
        with pytest.raises(InputError, match=r"'top.x' stands for 0; choose from: bench.top.i, "):
            chain.stream("top.x")
        with pytest.raises(InputError, match=r"'i' stands for 3; choose from: bench.top.i, "):
            chain.stream("i")
        with pytest.raises(InputError, match=r"'nothing.i' stands for 0"):
            chain.unit("nothing")


class TestStreamWave:
    wave = StreamWave("x", np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 1], bool))

    def test_occupancy(self):
        assert self.wave.occupancy(2).tolist() == [0.5, 0.0, 1.0]
        assert self.wave.occupancy(4, "blocked").tolist() == [0.25, 0.0]
        assert self.wave.occupancy(9, "idle").tolist() == [0.2]
        with pytest.raises(ValueError, match=r"^A bin must have at least one cycle, not 0$"):
            self.wave.occupancy(0)

    def test_unknown_state(self):
        with pytest.raises(ValueError, match=r"^A state must be one of .*, not 'busy'$"):
            self.wave.state("busy")


def write_vcd(path, names, cycles, first_line="$timescale 1 ns $end"):
    """Write one-bit signals: a row per cycle, a column per name; the clock is added."""
    codes = {name: f"s{n}" for n, name in enumerate(["clk", *names])}
    lines = [first_line, "$scope module top $end"]
    lines += [f"$var wire 1 {code} {name} $end" for name, code in codes.items()]
    lines += ["$upscope $end", "$enddefinitions $end", "#0", "0s0"]
    for n, row in enumerate(cycles):
        lines += [f"{bit}s{k}" for k, bit in enumerate(row, 1)]
        lines += [f"#{2 * n + 1}", "1s0", f"#{2 * n + 2}", "0s0"]
    path.write_text("\n".join(lines) + "\n")
    return path


class TestOtherFiles:
    def test_which_signals_are_streams(self, tmp_path):
        streams = ["a__valid", "a__ready", "a__valid$3", "b_valid", "b_ready"]
        streams += ["c__valid", "c__payload", "d__valid", "d__payload [7:0]"]
        others = ["lone_valid", "e__valid", "e_ready", "f__ready", "_valid", "valid", "ready"]
        waves = Waves(write_vcd(tmp_path / "a.vcd", streams + others, [[1] * 16]))
        assert list(waves.streams) == ["top.a", "top.b", "top.c", "top.d"]

    def test_unknown_values_are_no_transfers(self, tmp_path):
        rows = [["x", 1], [1, "z"], [1, 1]]
        waves = Waves(write_vcd(tmp_path / "a.vcd", ["i_valid", "i_ready"], rows))
        assert waves.stream("top.i").counts() == Counts(1, 1, 1, 0)

    def test_clock(self, tmp_path):
        path = write_vcd(tmp_path / "a.vcd", ["tick", "i_valid", "i_ready"], [[0, 1, 1], [1, 1, 1]])
        assert Waves(path, clock="top.tick").cycles == 1
        with pytest.raises(InputError, match=r"the clock top.i_valid must rise at least once"):
            Waves(write_vcd(path, ["i_valid", "i_ready"], [[0, 0]]), clock="top.i_valid")
        with pytest.raises(InputError, match=r"must be a VCD file with the clock top.x; name"):
            Waves(path, clock="top.x")

    def test_many_cycles(self, tmp_path):
        bits = np.random.default_rng(3).integers(0, 2, size=(20_000, 16))
        names = [f"u{n}_{x}" for n in range(8) for x in ("valid", "ready")]
        waves = Waves(write_vcd(tmp_path / "a.vcd", names, bits.tolist()))
        for n in range(8):
            valid, ready = bits[:, 2 * n].astype(bool), bits[:, 2 * n + 1].astype(bool)
            states = (valid & ready, ~valid & ready, valid & ~ready, ~valid & ~ready)
            assert waves.stream(f"top.u{n}").counts() == Counts(*map(np.count_nonzero, states))

    def test_no_such_file(self, tmp_path):
        with pytest.raises(InputError, match=r"^.*x.vcd must be an existing VCD file; check"):
            Waves(tmp_path / "x.vcd")

    # vcdvcd leaves a file open that it cannot read.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("text", ["", "no waves\nhere", "$var wire\n", "#x\n"])
    def test_no_vcd(self, tmp_path, text):
        (tmp_path / "a.vcd").write_text(text)
        with pytest.raises(InputError, match=r"a.vcd must be a VCD file"):
            Waves(tmp_path / "a.vcd")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no such signal here")
def test_reading_leaves_broken_pipes_as_errors(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("vcdvcd")]:
        monkeypatch.delitem(sys.modules, module)
    before = signal.getsignal(signal.SIGPIPE)
    Waves(write_vcd(tmp_path / "a.vcd", [], [[]]))
    assert signal.getsignal(signal.SIGPIPE) == before
