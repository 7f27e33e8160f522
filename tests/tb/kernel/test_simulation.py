"""A kernel with its registers and its memory: the same on every engine, cycle by cycle."""

import numpy as np
import pytest

from qkloom.tb.engines import ENGINES, Cache
from qkloom.tb.errors import AccessError, InputError
from qkloom.tb.kernel import start_kernel
from qkloom.tb.memory import Fault, MemoryModel
from qkloom.tb.stalls import HELD, Stall

START, STATUS, SOURCE, TARGET, PAIRS, STROBES, DEAF = 0x00, 0x04, 0x10, 0x18, 0x20, 0x24, 0x40
FROM, TO = 0x1000, 0x4000
ALL = (1 << 64) - 1
CHANNEL = 1 << 28

CALM = MemoryModel(n_channels=2, storage_bytes=1 << 16, latency=20)
ROUGH = MemoryModel(
    n_channels=2,
    storage_bytes=1 << 16,
    latency=30,
    refusals=Stall(0.3, burst=2),
    gaps=Stall(0.3, seed=1),
    delays=Stall(0.5, seed=2),
    order="beats",
    clock_hz=450_000_000,
    refresh_interval_ps=500_000,
)
HOST = Stall(0.5, burst=3, seed=5)


@pytest.fixture(autouse=True, scope="module")
def tools(require):
    require("compiler")
    require("verilator")


def start(kernel, target=CHANNEL + TO, pairs=3, strobes=ALL):
    for address, value in ((SOURCE, FROM), (TARGET, target), (STROBES, strobes)):
        kernel.write(address, value & 0xFFFFFFFF)
        kernel.write(address + 4, value >> 32)
    kernel.write(PAIRS, pairs)
    kernel.write(START, 1)


def fill(kernel):
    rng = np.random.default_rng(0)
    for contents in kernel.memory.values():
        contents[:] = rng.integers(0, 256, len(contents))
    return {n: contents.copy() for n, contents in kernel.memory.items()}


def copied(before, n_bytes):
    after = {n: contents.copy() for n, contents in before.items()}
    after[1][TO : TO + n_bytes] = before[0][FROM : FROM + n_bytes]
    return after


def same(memory, expected):
    return all((memory[n] == expected[n]).all() for n in expected)


class TestEngines:
    @pytest.mark.parametrize(("model", "stalls"), [(CALM, Stall()), (ROUGH, HOST)])
    def test_equal_cycles(self, vendors_copier, model, stalls):
        """The 512-bit form, with the pins that vendors' tools want, in every engine."""
        seen = []
        for engine in ENGINES:
            with start_kernel(vendors_copier, model, engine, stalls=stalls) as kernel:
                before = fill(kernel)
                start(kernel)
                started = kernel.cycle
                assert kernel.run(10_000)
                assert same(kernel.memory, copied(before, 6 * 16 * 64))
                assert kernel.violations == ()
                assert kernel.read(STATUS) == 0
                assert kernel.read(TARGET) == CHANNEL + TO + 6 * 16 * 64
                seen.append((started, kernel.cycle, kernel.counters, kernel.channels))
        assert seen[0] == seen[1] == seen[2]
        _, _, ports, channels = seen[0]
        assert (ports[0].read_bursts, ports[0].read_beats, ports[0].read_bytes) == (6, 96, 6144)
        assert (ports[1].write_bursts, ports[1].write_beats) == (6, 96)
        assert (channels[0].reads, channels[1].writes) == (192, 192)
        assert (ports[1].aw_blocked > 0) == (model is ROUGH)

    @pytest.mark.parametrize("engine", ["pysim", "cxxrtl"])
    def test_256_bits_and_amaranths_clock(self, copier, engine):
        with start_kernel(copier, CALM, engine) as kernel:
            before = fill(kernel)
            start(kernel, strobes=0x8000FF0F)
            assert kernel.run(5000)
            after = {n: contents.copy() for n, contents in before.items()}
            lanes = np.array([n for n in range(32) if 0x8000FF0F >> n & 1])
            beats = np.arange(96)[:, np.newaxis] * 32 + lanes
            after[1][TO + beats] = before[0][FROM + beats]
            assert same(kernel.memory, after)
            assert kernel.counters[1].write_bytes == 96 * 13
            assert kernel.cycle == 377


@pytest.mark.parametrize("engine", ["pysim", "cxxrtl"])
class TestHost:
    def test_registers(self, copier, engine):
        with start_kernel(copier, CALM, engine) as kernel:
            assert kernel.cycle == 0
            kernel.write(SOURCE, 0xDEADBEEF)
            kernel.write(SOURCE + 4, 5)
            assert (kernel.read(SOURCE), kernel.read(SOURCE + 4)) == (0xDEADBEEF, 5)
            assert kernel.cycle == 8  # two cycles each
            kernel.reset()
            assert (kernel.cycle, kernel.read(SOURCE)) == (0, 0)

    def test_run(self, copier, engine):
        with start_kernel(copier, CALM, engine) as kernel:
            assert not kernel.run(300)
            assert kernel.cycle == 300
            start(kernel, pairs=1)
            assert kernel.run(1000)
            cycle = kernel.cycle
            assert kernel.run(1000)  # the interrupt stays
            assert kernel.cycle == cycle + 1
            assert not kernel.run(10, until_interrupt=False)
            assert kernel.cycle == cycle + 11

    def test_no_answer(self, copier, engine):
        with start_kernel(copier, CALM, engine) as kernel:
            message = (
                r"^The write of register 0x40 was not answered in 50 cycles, in cycle 50; reset"
            )
            with pytest.raises(AccessError, match=message):
                kernel.write(DEAF, 1, max_cycles=50)
            with pytest.raises(AccessError, match=r"^The read of register 0x4 was not answered"):
                kernel.read(STATUS)
            kernel.reset()
            assert kernel.read(STATUS) == 0
            with pytest.raises(AccessError, match=r"^The read of register 0x40 was not answered"):
                kernel.read(DEAF)
            assert kernel.violations == ()

    def test_error_responses(self, copier, engine):
        with start_kernel(copier, CALM, engine) as kernel:
            with pytest.raises(
                AccessError, match=r"^The write of register 0x80 was answered SLVER"
            ):
                kernel.write(0x80, 1)
            with pytest.raises(
                AccessError, match=r"^The read of register 0x84 was answered SLVERR"
            ):
                kernel.read(0x84)
            assert kernel.read(STATUS) == 0

    def test_host_that_never_takes(self, copier, engine):
        message = r"^The read of register 0x4 was not answered in 1000 cycles, in cycle 1000; re"
        with (
            start_kernel(copier, CALM, engine, stalls=HELD) as kernel,
            pytest.raises(AccessError, match=message),
        ):
            kernel.read(STATUS)


@pytest.mark.parametrize("engine", ["pysim", "cxxrtl"])
class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("slverr", "read", beat=37),
            Fault("decerr", "write", port=1, beat=95),
            Fault("slverr", "read", first=FROM + 40, last=FROM + 41),
        ],
    )
    def test_error_is_seen(self, copier, engine, fault):
        with start_kernel(copier, CALM, engine) as kernel:
            start(kernel)
            assert kernel.run(5000)
            assert kernel.read(STATUS) == 0
            kernel.reset()
            kernel.set_faults([fault])
            start(kernel)
            assert kernel.run(5000)
            assert kernel.read(STATUS) == 1
            assert kernel.violations == ()

    @pytest.mark.parametrize("direction", ["read", "write"])
    def test_stall(self, copier, engine, direction):
        with start_kernel(copier, CALM, engine) as kernel:
            kernel.set_faults([Fault("stall", direction, beat=40)])
            before = fill(kernel)
            start(kernel)
            assert not kernel.run(600)
            ports = kernel.counters
            assert (ports[0].reads_left, ports[1].writes_left) == (
                (2, 0) if direction == "read" else (0, 1)
            )
            assert (ports[0].read_beats, ports[1].write_beats) == (
                (40, 32) if direction == "read" else (64, 40)
            )
            assert kernel.read(STATUS) == 0  # the host gets through
            kernel.set_faults([])
            kernel.reset()
            start(kernel)
            assert kernel.run(5000)
            assert same(kernel.memory, copied(before, 96 * 32))

    def test_guard(self, copier, engine):
        """Writes behind the end of the memory go nowhere, and are noted."""
        with start_kernel(copier, CALM, engine) as kernel:
            before = fill(kernel)
            start(kernel, target=CHANNEL + (1 << 16) - 512, pairs=1)
            assert kernel.run(5000)
            assert kernel.read(STATUS) == 1
            before[1][-512:] = before[0][FROM : FROM + 512]
            assert same(kernel.memory, before)
            (violation,) = kernel.violations
            assert violation.stream == "m01_axi aw"
            assert violation.rule == "went where there is no memory"
            assert violation.address == CHANNEL + (1 << 16)


@pytest.mark.parametrize("engine", ["pysim", "cxxrtl"])
def test_waves(copier, engine, tmp_path):
    path = tmp_path / "waves.vcd"
    with start_kernel(copier, CALM, engine, waves=path) as kernel:
        start(kernel, pairs=1)
        assert kernel.run(1000)
        assert not path.exists()
    text = path.read_text()
    assert "m00_axi_araddr" in text
    assert len(text) > 10_000


class TestErrors:
    def test_engine(self, copier):
        message = r"^An engine must be one of pysim, cxxrtl, verilator, not 'icarus'$"
        with pytest.raises(ValueError, match=message):
            start_kernel(copier, engine="icarus")

    def test_arguments(self, copier):
        with start_kernel(copier, CALM, "pysim") as kernel:
            with pytest.raises(ValueError, match=r"^An address must have 12 bits, not 0x1000$"):
                kernel.read(0x1000)
            with pytest.raises(ValueError, match=r"must be written with 32 bits, not 4294967296$"):
                kernel.write(0, 1 << 32)
            with pytest.raises(ValueError, match=r"must be written with 32 bits, not -1$"):
                kernel.write(0, -1)

    def test_closed(self, copier):
        with start_kernel(copier, CALM, "pysim") as kernel:
            kernel.memory[0][5] = 7
        for call in (kernel.reset, lambda: kernel.read(0), lambda: kernel.counters):
            with pytest.raises(ValueError, match=r"^The simulation of the kernel is closed$"):
                call()
        assert kernel.memory[0][5] == 7

    def test_waves_that_cannot_be_written(self, copier, tmp_path):
        with pytest.raises(InputError, match=r"must be a file that can be written"):
            start_kernel(copier, CALM, "pysim", waves=tmp_path)

    def test_cache(self, copier, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RuntimeError, match=r"^Cannot write to the cache"):
            start_kernel(copier, CALM, "cxxrtl", cache=Cache(tmp_path / "file"))
