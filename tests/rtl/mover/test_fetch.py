"""Rows come in the order in which they were asked for, from whichever channel they are on."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.mover.fetch import Fetcher
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import from_bits, simulate, to_bits

SIZE, TOKENS, LANES = 8, 4, 3
ROW_BYTES = SIZE
SLVERR, DECERR = 2, 3


def fetcher(**changes):
    given = dict(
        to=LANES,
        n_channels=2,
        size=SIZE,
        element_width=8,
        tokens=TOKENS,
        head_dim=32,
        data_width=128,
        address_width=32,
        fills=False,
    )
    return Fetcher(**{**given, **changes})


class Bench:
    """A fetcher before memory that answers when it likes."""

    def __init__(self, dut, *, d_tiles, n=30, errors=None, **memory):
        self.dut, self.d_tiles, self.n_channels = dut, d_tiles, len(dut.bus)
        self.signature = dut.signature.members["bus"].signature
        self.beat_bytes = self.signature.beat_bytes
        self.memories = [
            Responder(self.signature, seed=k, errors=(errors or {}).get(k, {}), **memory)
            for k in range(self.n_channels)
        ]
        self.checkers = [AXIChecker(self.signature) for _ in self.memories]
        rng = random.Random(d_tiles)
        self.fetches = [self._fetch(rng) for _ in range(n)]
        self.seen = []

    def _fetch(self, rng):
        tokens = rng.randint(1, TOKENS)
        per_unit = max(ROW_BYTES, self.beat_bytes)
        n_bytes = -(-tokens * self.d_tiles * ROW_BYTES // per_unit) * per_unit
        return {
            "to": rng.randrange(1 << LANES),
            "channel": rng.randrange(self.n_channels),
            # Some across a boundary of 4 KB.
            "addr": rng.choice([0x1000 - 16, rng.randrange(1 << 16) * 16]),
            "beats": n_bytes // self.beat_bytes,
            "tokens": tokens,
        }

    def run(self, *, halts_at=None, cycles=6000, **pace):
        shape = self.dut.i.payload.shape()

        async def drive(ctx):
            ctx.set(self.dut.d_tiles, self.d_tiles)
            cycle = 0
            async for _, _, idle, failed in ctx.tick().sample(self.dut.idle, self.dut.failed):
                self.seen.append((idle, failed))
                cycle += 1
                if cycle == halts_at:
                    ctx.set(self.dut.halt, 1)

        beside = [drive]
        for k in range(self.n_channels):
            bus = self.dut.bus[k]
            beside += [self.memories[k].process(bus), self.checkers[k].process(bus)]
        logs = simulate(
            self.dut,
            inputs={"i": [to_bits(shape, fetch) for fetch in self.fetches]},
            outputs=["o"],
            watched=[f"bus__{k}__ar" for k in range(self.n_channels)],
            cycles=cycles,
            idle=150,
            pace=pace,
            beside=beside,
        )
        for checker in self.checkers:
            assert checker.broken == [] and checker.finish() == []
        return logs

    def rows(self, fills):
        """Return what comes of the fetches."""
        rows = []
        for fetch in self.fetches:
            memory = self.memories[fetch["channel"]]
            n_rows = fetch["tokens"] * self.d_tiles
            for k in range(TOKENS * self.d_tiles if fills else n_rows):
                start = fetch["addr"] + k * ROW_BYTES
                row = [memory.byte(start + j) if k < n_rows else 0 for j in range(SIZE)]
                signed = [byte - 256 if byte > 127 else byte for byte in row]
                last = int(k % self.d_tiles == self.d_tiles - 1)
                rows.append({"to": fetch["to"], "item": {"row": signed, "last": last}})
        return rows

    def found(self, logs):
        shape = self.dut.o.payload.shape()
        return [from_bits(shape, bits) for bits in logs["o"].items]


@pytest.mark.parametrize(
    ("n_channels", "data_width", "fills", "d_tiles"),
    [(1, 128, False, 1), (2, 128, True, 3), (4, 32, False, 2), (2, 64, True, 4)],
)
class TestRows:
    def test_random(self, n_channels, data_width, fills, d_tiles):
        dut = fetcher(n_channels=n_channels, data_width=data_width, fills=fills)
        bench = Bench(dut, d_tiles=d_tiles, latency=(1, 50), pace=0.7)
        logs = bench.run(i=0.6, o=0.7)
        assert bench.found(logs) == bench.rows(fills)
        assert bench.seen[-1] == (1, 0)
        assert (0, 0) in bench.seen

    def test_never_taken(self, n_channels, data_width, fills, d_tiles):
        dut = fetcher(n_channels=n_channels, data_width=data_width, fills=fills)
        bench = Bench(dut, d_tiles=d_tiles, latency=(1, 10))
        logs = bench.run(o=0)
        assert logs["o"].valid_cycles and not logs["o"].items


def test_full_rate():
    """Latencies of different channels overlap: a row a cycle, once the first one is there."""
    dut = fetcher(n_channels=2, data_width=128)
    bench = Bench(dut, d_tiles=4, latency=(30, 30))
    for number, fetch in enumerate(bench.fetches):
        fetch |= {"tokens": TOKENS, "beats": 8, "channel": number % 2, "addr": 128 * number}
    logs = bench.run()
    assert bench.found(logs) == bench.rows(False)
    cycles = logs["o"].cycles
    assert len(cycles) == 30 * 16
    assert cycles[-1] - cycles[0] == len(cycles) - 1


class TestFaults:
    @pytest.mark.parametrize(
        ("errors", "failed"),
        [
            ({0: {0: SLVERR}}, SLVERR),
            ({1: {128: DECERR}}, DECERR),
            ({0: {0: SLVERR}, 1: {128: DECERR}}, DECERR),
        ],
    )
    def test_responses(self, errors, failed):
        bench = Bench(fetcher(), d_tiles=2, n=4, errors=errors)
        for number, fetch in enumerate(bench.fetches):
            fetch |= {"channel": number % 2, "addr": 128 * number}
        logs = bench.run()
        assert bench.seen[0][1] == 0
        assert bench.seen[-1] == (1, failed)
        assert bench.found(logs) == bench.rows(False)  # what fails is for others to stop

    @pytest.mark.parametrize("halts_at", [1, 20, 45, 90])
    def test_halt(self, halts_at):
        """What memory was asked for comes; it is asked for nothing more."""
        bench = Bench(fetcher(), d_tiles=4, latency=(20, 40))
        logs = bench.run(halts_at=halts_at, o=0.8)
        assert bench.seen[-1] == (1, 0)
        for k in range(2):
            assert not [c for c in logs[f"bus__{k}__ar"].cycles if c > halts_at + 2]
        found, rows = bench.found(logs), bench.rows(False)
        assert found == rows[: len(found)]
        assert len(found) < len(rows)


def test_conversion():
    emit(fetcher(n_channels=4, data_width=32), verilog=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, r"^Tokens must be a positive integer, not 0$"),
        ({"n_channels": 0}, r"^Number of channels must be a positive integer, not 0$"),
        ({"size": 12}, r"^Rows of 96 bits and beats of 128 must divide each other$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        fetcher(**changes)
