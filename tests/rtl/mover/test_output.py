"""Outputs of lanes that take turns arrive in memory, each query block at its place."""

import random

import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.formats import Fixed
from qkloom.rtl.mover.output import OutputMover
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import simulate, to_bits

N_LANES, OUT_WIDTH = 3, 2
ITEM = data.StructLayout({"row": data.ArrayLayout(Fixed(8, 16), OUT_WIDTH), "last": 1})
SLVERR, DECERR = 2, 3
SPACE = 1 << 12
"""Between two blocks; the first ones end near a boundary of 4 KB."""


def mover(**changes):
    given = dict(item=ITEM, n_lanes=N_LANES, n_channels=2, element_width=32, data_width=128)
    return OutputMover(**{**given, **changes})


class Bench:
    """A mover before memory that answers when it likes, and query blocks to write."""

    def __init__(self, n_channels, *, n=12, errors=None, **memory):
        self.dut = mover(n_channels=n_channels)
        signature = self.dut.signature.members["bus"].signature
        self.memories = [
            Responder(signature, seed=k, errors=(errors or {}).get(k, {}), **memory)
            for k in range(n_channels)
        ]
        self.checkers = [AXIChecker(signature) for _ in self.memories]
        self.n, self.written, self.seen = n, [0] * n_channels, []
        rng = random.Random(n_channels)
        self.places, self.items = [], []
        self.expected = [{} for _ in self.memories]
        waiting = {lane: [] for lane in range(N_LANES)}
        for number in range(n):
            lane, channel = number % N_LANES, rng.randrange(n_channels)
            n_items = rng.choice([1, 2, 3, 31, 32, 33, 70])
            addr = (number + 1) * SPACE - 16 * rng.choice([1, 2, 9])
            place = {"channel": channel, "addr": addr}
            self.places.append({"to": lane, "item": place})
            for k in range(n_items):
                words = [rng.randrange(-(1 << 23), 1 << 23) for _ in range(OUT_WIDTH)]
                item = {"row": words, "last": int(k == n_items - 1)}
                waiting[lane].append((number // N_LANES, item))
                content = b"".join((w & 0xFFFFFFFF).to_bytes(4, "little") for w in words)
                start = addr + len(content) * k
                self.expected[channel] |= dict(enumerate(content, start))
        # A lane is no more than a block ahead of another one.
        while lanes := [lane for lane, items in waiting.items() if items]:
            oldest = min(waiting[lane][0][0] for lane in lanes)
            lane = rng.choice([lane for lane in lanes if waiting[lane][0][0] < oldest + 2])
            self.items.append({"index": lane, "item": waiting[lane].pop(0)[1]})

    def run(self, *, halts_at=None, **pace):
        dut = self.dut

        async def drive(ctx):
            cycle = 0
            ports = (dut.written, dut.idle, dut.failed)
            async for _, _, written, *state in ctx.tick().sample(*ports):
                for k in range(len(self.written)):
                    self.written[k] += written >> k & 1
                self.seen.append(tuple(state))
                cycle += 1
                if cycle == halts_at:
                    ctx.set(dut.halt, 1)

        beside = [drive]
        for k, (memory, checker) in enumerate(zip(self.memories, self.checkers, strict=True)):
            beside += [memory.process(dut.bus[k]), checker.process(dut.bus[k])]
        logs = simulate(
            dut,
            inputs={
                "i": [to_bits(dut.i.payload.shape(), item) for item in self.items],
                "places": [to_bits(dut.places.payload.shape(), place) for place in self.places],
            },
            outputs=[],
            watched=[f"bus__{k}__aw" for k in range(len(self.memories))],
            cycles=8000,
            idle=150,
            pace=pace,
            beside=beside,
        )
        for checker in self.checkers:
            assert checker.broken == [] and checker.finish() == []
        return logs


@pytest.mark.parametrize("n_channels", [1, 2, 4])
class TestOutputs:
    @pytest.mark.parametrize("w_first", [False, True])
    def test_random(self, n_channels, w_first):
        bench = Bench(n_channels, latency=(1, 40), pace=0.6, w_first=w_first)
        bench.run(i=0.9, places=0.4)
        assert [memory.written for memory in bench.memories] == bench.expected
        assert sum(bench.written) == bench.n
        assert bench.seen[-1] == (1, 0)
        assert (0, 0) in bench.seen

    def test_places_that_come_late(self, n_channels):
        """Nothing is written before its place is known."""
        bench = Bench(n_channels)
        logs = bench.run(places=lambda cycle: float(cycle > 120))
        first = min(cycle for log in logs.values() for cycle in log.cycles[:1] if log.items)
        assert min(logs["places"].cycles) == 122
        assert first < 121  # outputs did come in before
        assert all(c > 121 for k in range(n_channels) for c in logs[f"bus__{k}__aw"].cycles)
        assert [memory.written for memory in bench.memories] == bench.expected

    def test_conversion(self, n_channels):
        emit(mover(n_channels=n_channels), verilog=True)


class TestFaults:
    @pytest.mark.parametrize("response", [SLVERR, DECERR])
    def test_responses(self, response):
        errors = {1: dict.fromkeys(range(0, 20 * SPACE, 16), response)}
        bench = Bench(2, errors=errors)
        bench.run()
        assert bench.seen[0][1] == 0
        assert bench.seen[-1] == (1, response)
        assert sum(bench.written) == bench.n  # it ends nevertheless

    @pytest.mark.parametrize("halts_at", [20, 60, 111, 200])
    def test_halt(self, halts_at):
        """Bursts that were asked for are written to their end; there are no others."""
        bench = Bench(2, latency=(5, 40), pace=0.5)
        logs = bench.run(halts_at=halts_at)
        assert bench.seen[-1] == (1, 0)
        for k, (memory, expected) in enumerate(zip(bench.memories, bench.expected, strict=True)):
            # An address that was offered before stays until memory takes it.
            assert sum(c > halts_at for c in logs[f"bus__{k}__aw"].cycles) <= 1
            assert memory.written.items() <= expected.items()
        assert sum(len(m.written) for m in bench.memories) < sum(map(len, bench.expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_lanes": 0}, r"^Number of lanes must be a positive integer, not 0$"),
        ({"n_channels": 0}, r"^Number of channels must be a positive integer, not 0$"),
        ({"element_width": 0}, r"^Element width must be a positive integer, not 0$"),
        ({"data_width": 32}, r"^2 elements of 32 bits must divide a beat of 32$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        mover(**changes)
