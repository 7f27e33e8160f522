"""What ports of a memory get: when, in which order, and what goes wrong as planned."""

import numpy as np
import pytest

from qkloom.tb.memory import Fault, MemoryModel
from qkloom.tb.memory.model import ManagerPins, Memory, Request
from qkloom.tb.stalls import HELD, Stall

WIDTH = 32
ALL = (1 << WIDTH) - 1
NEAR = {"n_channels": 2, "channel_bytes": 1 << 20, "storage_bytes": 1 << 16}
SLVERR, DECERR = 2, 3


class Manager:
    """Reads and writes whole bursts; writes one after the other."""

    def __init__(self, **parameters):
        self.model = MemoryModel(**NEAR, **parameters)
        rng = np.random.default_rng(0)
        self.contents = {n: rng.integers(0, 256, 1 << 16).astype(np.uint8) for n in range(2)}
        self.before = {n: values.copy() for n, values in self.contents.items()}
        self.memory = Memory(self.model, self.contents, {"m00_axi": WIDTH, "m01_axi": WIDTH})
        self.cycle = 0

    def run(self, reads=(), writes=(), strobes=ALL, cycles=1000, port=0):
        """Return cycle and payload of each R and B; requests leave as soon as they can."""
        reads, writes = list(reads), list(writes)
        beats = [(n, beat) for n, w in enumerate(writes) for beat in range(w.length + 1)]
        lengths, n_asked = [w.length for w in writes], 0
        r, b = [], []
        for _ in range(cycles):
            pins = self.memory.drive(port, self.cycle)
            wvalid = bool(beats) and beats[0][0] < n_asked
            given = ManagerPins(
                arvalid=bool(reads),
                awvalid=n_asked < len(writes),
                wvalid=wvalid,
                rready=1,
                bready=1,
                ar=reads[0] if reads else Request(),
                aw=writes[n_asked] if n_asked < len(writes) else Request(),
                wdata=int.from_bytes(bytes([beats[0][1] + 1] * WIDTH), "little") if beats else 0,
                wstrb=strobes,
                wlast=wvalid and beats[0][1] == lengths[beats[0][0]],
            )
            if pins.rvalid:
                r.append((self.cycle, pins.rid, pins.rdata, pins.rresp, pins.rlast))
            if pins.bvalid:
                b.append((self.cycle, pins.bid, pins.bresp))
            asked = given.awvalid and pins.awready
            if given.arvalid and pins.arready:
                del reads[0]
            if wvalid and pins.wready:
                del beats[0]
            self.memory.sample(port, self.cycle, given)
            n_asked += bool(asked)
            self.cycle += 1
        return r, b

    @property
    def counters(self):
        return self.memory.port_counters()[0]


def burst(address=0, beats=4, id=0, size=5):
    return Request(address, id, beats - 1, size)


class TestTiming:
    def test_latency_of_a_read(self):
        manager = Manager(latency=30, activate_ps=0)
        r, _ = manager.run([burst()])
        assert [beat[0] for beat in r] == [30, 31, 32, 33]
        assert [beat[4] for beat in r] == [0, 0, 0, 1]
        row = manager.contents[0][:128].tobytes()
        assert b"".join(beat[2].to_bytes(32, "little") for beat in r) == row

    def test_closed_row_takes_longer(self):
        r, _ = Manager(latency=30).run([burst()])
        assert r[0][0] == 30 + 5  # 16 ns at 300 MHz, rounded up with the atom behind it

    def test_latency_of_a_write(self):
        manager = Manager(latency=30, activate_ps=0, turnaround_ps=0)
        _, b = manager.run(writes=[burst()])
        # Its address goes in cycle 0, its data in 1 to 4, and the bus needs 4 x 0.67 cycles.
        assert b == [(4 + 30 + 2, 0, 0)]
        assert (manager.contents[0][:128] == np.repeat([1, 2, 3, 4], 32)).all()

    def test_full_rate_after_the_latency(self):
        r, _ = Manager(latency=100).run([burst(2048 * n, 64) for n in range(4)])
        cycles = [beat[0] for beat in r]
        assert cycles == list(range(cycles[0], cycles[0] + 256))

    def test_outstanding(self):
        manager = Manager(latency=100, outstanding=2)
        manager.run([burst(128 * n) for n in range(3)], cycles=50)
        assert (manager.counters.read_bursts, manager.counters.ar_blocked) == (2, 48)

    def test_ports_share_a_channel(self):
        manager = Manager(clock_hz=450_000_000, latency=1)
        manager.run([burst(0, 64)], cycles=1)
        manager.cycle = 0
        r, _ = manager.run([burst(2048, 64)], port=1)
        assert r[0][0] > 64
        manager = Manager(clock_hz=450_000_000, latency=1)
        manager.run([burst(0, 64)], cycles=1)
        manager.cycle = 0
        r, _ = manager.run([burst(1 << 20, 64)], port=1)
        assert r[0][0] < 20

    def test_write_buffer(self):
        """A bus that is busy for long takes no more data than the buffer holds."""
        writes = [burst(1024 * n, 16) for n in range(16)]
        manager = Manager(bandwidth=1_000_000_000, write_buffer=2)
        manager.run(writes=writes, cycles=400)
        assert 32 < manager.counters.write_beats < 100
        assert manager.counters.w_blocked > 250

    def test_delays(self):
        reads = [burst(128 * n, 1) for n in range(20)]
        without, _ = Manager(latency=10).run(reads)
        late, _ = Manager(latency=10, delays=Stall(0.5), delay_most=200).run(reads)
        assert [beat[2] for beat in late] == [beat[2] for beat in without]
        assert without[-1][0] + 50 < late[-1][0] <= without[-1][0] + 200

    def test_refusals_and_gaps(self):
        manager = Manager(refusals=HELD)
        manager.run([burst()], [burst()], cycles=50)
        counters = manager.counters
        assert (counters.ar_blocked, counters.aw_blocked, counters.read_bursts) == (50, 50, 0)
        manager = Manager(gaps=HELD)
        r, b = manager.run([burst()], [burst()])
        assert r == b == []
        assert manager.counters.r_starved == 999


class TestOrder:
    READS = [burst(2048 * n, 8, id=n % 3) for n in range(12)]

    def ids(self, **parameters):
        r, _ = Manager(delays=Stall(0.5), delay_most=99, **parameters).run(self.READS)
        assert len(r) == 96
        expected = {n: Manager().run([q for q in self.READS if q.id == n])[0] for n in range(3)}
        for n, beats in expected.items():  # in order within an ID, whatever else happens
            assert [beat[2] for beat in r if beat[1] == n] == [beat[2] for beat in beats]
        return [beat[1] for beat in r]

    def test_in_order(self):
        assert self.ids() == [n // 8 % 3 for n in range(96)]

    def test_bursts_overtake(self):
        ids = self.ids(order="bursts")
        assert all(len(set(ids[n : n + 8])) == 1 for n in range(0, 96, 8))
        assert ids[::8] != [n % 3 for n in range(12)]
        assert ids != self.ids(order="bursts", seed=1)

    def test_beats_mix(self):
        ids = self.ids(order="beats")
        assert any(len(set(ids[n : n + 8])) > 1 for n in range(0, 96, 8))

    def test_answers_overtake(self):
        writes = [burst(2048 * n, 4, id=n % 3) for n in range(12)]
        _, b = Manager(delays=Stall(0.5), delay_most=99).run(writes=writes)
        assert [answer[1] for answer in b] == [n % 3 for n in range(12)]
        _, b = Manager(delays=Stall(0.5), delay_most=99, order="bursts").run(writes=writes)
        assert sorted(answer[1] for answer in b) == sorted(n % 3 for n in range(12))
        assert [answer[1] for answer in b] != [n % 3 for n in range(12)]


class TestData:
    def test_strobes(self):
        manager = Manager()
        manager.run(writes=[burst(4096, 2)], strobes=0xF00000F1)
        lanes = [0, 4, 5, 6, 7, 28, 29, 30, 31]
        expected = manager.before[0].copy()
        expected[[4096 + lane for lane in lanes]] = 1
        expected[[4128 + lane for lane in lanes]] = 2
        assert (manager.contents[0] == expected).all()
        assert manager.counters.write_bytes == 18

    def test_narrow_and_unaligned(self):
        manager = Manager()
        r, _ = manager.run([burst(0x105, 3, size=2)])
        contents = manager.before[0].tobytes()
        for beat, (low, high) in zip(
            r, ((0x105, 0x108), (0x108, 0x10C), (0x10C, 0x110)), strict=True
        ):
            lanes = beat[2].to_bytes(32, "little")
            assert lanes[low % 32 : low % 32 + high - low] == contents[low:high]
            assert set(lanes[: low % 32] + lanes[low % 32 + high - low :]) == {0xAA}
        assert manager.counters.read_bytes == 11

    def test_written_when_answered(self):
        """Who reads before the answer gets what was there before."""
        manager = Manager(latency=100)
        manager.run(writes=[burst(0)], cycles=100)
        assert (manager.contents[0] == manager.before[0]).all()
        manager.run(cycles=20)
        assert (manager.contents[0][:128] != manager.before[0][:128]).any()


class TestFaults:
    def test_nth_beat(self):
        manager = Manager(faults=(Fault("slverr", "read", beat=5),))
        r, b = manager.run([burst(0), burst(128)], [burst(0), burst(128)])
        assert [beat[3] for beat in r] == [0, 0, 0, 0, 0, SLVERR, 0, 0]
        assert [answer[2] for answer in b] == [0, 0]
        assert r[5][2] == int.from_bytes(b"\xaa" * 32, "little")

    def test_written_beat_fails_its_burst(self):
        manager = Manager(faults=(Fault("decerr", "write", beat=5),))
        _, b = manager.run(writes=[burst(0), burst(128), burst(256)])
        assert [answer[2] for answer in b] == [0, DECERR, 0]
        assert (manager.contents[0][160:192] == manager.before[0][160:192]).all()
        assert (manager.contents[0][192:224] == 3).all()

    def test_addresses(self):
        manager = Manager(faults=(Fault("slverr", first=0x60, last=0x60),))
        r, _ = manager.run([burst(0)])
        assert [beat[3] for beat in r] == [0, 0, 0, SLVERR]

    def test_other_port(self):
        manager = Manager(faults=(Fault("slverr", port=1),))
        assert {beat[3] for beat in manager.run([burst()])[0]} == {0}
        assert {beat[3] for beat in manager.run([burst()], port=1)[0]} == {SLVERR}

    def test_stall(self):
        manager = Manager(faults=(Fault("stall", "read", beat=6),))
        r, b = manager.run([burst(0), burst(128)], [burst(0)])
        assert (len(r), len(b)) == (6, 1)
        manager = Manager(faults=(Fault("stall", beat=2),))
        r, b = manager.run([burst(0)], [burst(0)])
        assert (len(r), len(b), manager.counters.write_beats) == (2, 0, 2)

    def test_outside(self):
        manager = Manager()
        r, b = manager.run([burst(1 << 16), burst(2 << 20)], [burst(1 << 16)])
        assert {beat[3] for beat in r} == {DECERR}
        assert [answer[2] for answer in b] == [DECERR]
        assert all((manager.contents[n] == manager.before[n]).all() for n in range(2))
        found = sorted((v.stream, v.address) for v in manager.memory.violations.found)
        assert found == [("m00_axi ar", 1 << 16), ("m00_axi ar", 2 << 20), ("m00_axi aw", 1 << 16)]
        assert {v.rule for v in manager.memory.violations.found} == {
            "went where there is no memory"
        }
        assert sum(c.reads + c.writes for c in manager.memory.channel_counters()) == 0


def test_counters():
    manager = Manager(latency=50)
    manager.run([burst(0, 16), burst(512, 16)], [burst(4096, 8)])
    counters = manager.counters
    assert (counters.read_bursts, counters.read_beats, counters.read_bytes) == (2, 32, 1024)
    assert (counters.write_bursts, counters.write_beats, counters.write_bytes) == (1, 8, 256)
    assert counters.r_starved + counters.read_beats == counters.read_pending
    assert (counters.ar_blocked, counters.r_blocked, counters.w_starved) == (0, 0, 0)
    assert manager.memory.channel_counters()[0].reads == 32


def test_restart():
    manager = Manager(latency=50)
    first = manager.run([burst(0, 16)], cycles=60)
    manager.memory.restart()
    manager.cycle = 0
    assert manager.run([burst(0, 16)], cycles=60) == first
    assert manager.counters.read_bursts == 1


def test_violation_as_text():
    manager = Manager()
    manager.run([burst(0xF80, 8)])
    with pytest.raises(AssertionError, match=r"m00_axi ar crossed a multiple of 4 KB at 0xf80, in"):
        raise AssertionError(str(manager.memory.violations.found[0]))
