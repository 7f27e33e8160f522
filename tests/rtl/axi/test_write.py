from random import Random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Write, Response, WriteManager, command_layout, data_layout
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import simulate, to_bits

from .test_burst import split
from .test_read import DECERR, SLVERR, random_commands


class Writer:
    """A manager, memory, and a checker between them."""

    def __init__(self, dut, **memory):
        bus = AXI4Write(
            data_width=dut.parameters["data_width"], address_width=dut.parameters["address_width"]
        )
        self.dut, self.bytes = dut, bus.beat_bytes
        self.memory, self.checker = Responder(bus, **memory), AXIChecker(bus)
        self.command = command_layout(
            address_width=dut.parameters["address_width"], beats=dut.parameters["longest"]
        )
        self.beat = data_layout(data_width=dut.parameters["data_width"])
        self.seen = []  # of idle, failed and done, by cycle

    def run(self, commands, beats, *, beside=(), cycles=20_000, idle=200, **pace):
        async def observe(ctx):
            signals = [self.dut.idle, self.dut.failed, self.dut.done]
            async for _, _, idle_, failed, done in ctx.tick().sample(*signals):
                self.seen.append((idle_, Response(failed), done))

        sent = self.payloads(commands, beats)
        bus = self.dut.bus
        logs = simulate(
            self.dut,
            inputs={name: items for name, items in sent.items() if items},
            outputs=[],
            watched=["bus__aw", "bus__w", "bus__b"],
            cycles=cycles,
            idle=idle,
            pace=pace,
            beside=[self.memory.process(bus), self.checker.process(bus), observe, *beside],
        )
        assert self.checker.broken == []
        assert logs["bus__b"].cycles == logs["bus__b"].valid_cycles  # nobody waits on B
        return logs

    def payloads(self, commands, beats):
        """Return the bits of what goes in, by stream."""
        return {
            "i": [to_bits(self.command, {"addr": a, "beats": n}) for a, n in commands],
            "data": [to_bits(self.beat, {"data": d, "strb": s}) for d, s in beats],
        }

    def contents(self, commands, beats):
        """Return what memory has to hold, and whether each beat has a byte to write."""
        beats = iter(beats)
        found = {}
        for addr, n in commands:
            for at in range(addr, addr + n * self.bytes, self.bytes):
                data, strb = next(beats)
                found |= {at + k: data >> 8 * k & 255 for k in range(self.bytes) if strb >> k & 1}
        return found

    def random_beats(self, rng, n):
        """Return beats; most of them whole."""
        whole = (1 << self.bytes) - 1
        return [
            (
                rng.getrandbits(8 * self.bytes),
                rng.choice([whole, whole, 0, rng.randint(0, whole)]),
            )
            for _ in range(n)
        ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"data_width": 32, "longest": 100, "burst": 16, "ahead": 40},
        {"data_width": 64, "longest": 33, "burst": 4, "ahead": 80, "outstanding": 3},
        {"data_width": 8, "longest": 300, "burst": 256, "ahead": 256, "address_width": 40},
        {"data_width": 512, "longest": 20, "burst": 8, "ahead": 8},
        {"data_width": 16, "longest": 90, "burst": 32, "ahead": 70},
        {"data_width": 32, "longest": 3, "burst": 1, "ahead": 1, "outstanding": 1},
    ],
)
class TestWriting:
    def test_random(self, parameters):
        rng = Random(str(parameters))
        w_first = parameters["burst"] != 8
        writer = Writer(
            WriteManager(**parameters), latency=(1, 25), pace=0.7, seed=1, w_first=w_first
        )
        commands = random_commands(rng, 10, longest=parameters["longest"], beat_bytes=writer.bytes)
        beats = writer.random_beats(rng, sum(n for _, n in commands))
        logs = writer.run(commands, beats, i=0.5, data=0.8)
        assert writer.memory.written == writer.contents(commands, beats)
        pieces = [
            split(*command, beat_bytes=writer.bytes, burst=parameters["burst"])
            for command in commands
        ]
        assert len(logs["bus__aw"].items) == sum(map(len, pieces))
        assert writer.checker.finish() == []
        # A command is done in the cycle after its last response.
        done = [cycle for cycle, (_, _, pulse) in enumerate(writer.seen) if pulse]
        ends, last = [], -1
        for found in pieces:
            last += len(found)
            ends.append(logs["bus__b"].cycles[last] + 1)
        assert done == ends
        assert writer.seen[-1] == (1, Response.OKAY, 0)

    def test_never_ready(self, parameters):
        writer = Writer(WriteManager(**parameters), pace=0.0)
        logs = writer.run([(0, parameters["longest"])] * 3, [(1, 1)] * 900, idle=60)
        aw, w = logs["bus__aw"].valid_cycles, logs["bus__w"].valid_cycles
        assert aw == list(range(aw[0], aw[-1] + 1))
        assert w == list(range(w[0], w[-1] + 1))
        assert len(logs["data"].items) == parameters["ahead"]

    def test_conversion(self, parameters):
        emit(WriteManager(**parameters), verilog=True)


def made(**changed):
    return WriteManager(**{"data_width": 32, "longest": 640, "address_width": 32, **changed})


class TestSpeed:
    COMMANDS = [(0, 320), (0x10000, 160)]

    def cycles(self, latency, **changed):
        writer = Writer(made(**changed), latency=(latency, latency))
        logs = writer.run(self.COMMANDS, [(5, 15)] * 480)
        assert len(logs["bus__w"].cycles) == 480
        return logs["bus__w"].cycles

    def test_one_beat_a_cycle(self):
        cycles = self.cycles(100)
        assert cycles == list(range(66, 66 + 480))

    @pytest.mark.parametrize("burst", [4, 16, 64])
    def test_how_far_ahead(self, burst):
        """What the documentation asks for is enough, and little less is not."""
        cycles = self.cycles(10, burst=burst, ahead=burst + 3)
        assert cycles[-1] - cycles[0] == 479
        cycles = self.cycles(10, burst=burst, ahead=burst + 1)
        assert cycles[-1] - cycles[0] > 485

    def test_latency_of_one_beat(self):
        writer = Writer(made())
        logs = writer.run([(0, 1)], [(5, 15)])
        assert logs["bus__aw"].cycles == [4]
        assert logs["bus__w"].cycles == [4]
        assert [cycle for cycle, (_, _, done) in enumerate(writer.seen) if done] == [6]


class TestStarving:
    @pytest.mark.parametrize("ahead", [16, 40, 80])
    def test_no_burst_begins_without_its_data(self, ahead):
        """W, once begun, goes on to the end of the burst, however slowly data come."""
        writer = Writer(made(burst=16, ahead=ahead))
        commands = [(64, 40), (0x400, 3)]
        beats = writer.random_beats(Random(1), 43)
        logs = writer.run(commands, beats, data=0.2)
        cycles = logs["bus__w"].cycles
        at = 0
        for n in (16, 16, 8, 3):
            assert cycles[at + n - 1] - cycles[at] == n - 1
            at += n
        # The last beat that a burst needs comes before all of it.
        assert logs["data"].cycles[15] < cycles[0]

    def test_data_without_a_command(self):
        writer = Writer(made(burst=16, ahead=20))
        logs = writer.run([], [(1, 1)] * 30)
        assert len(logs["data"].items) == 20
        assert not logs["bus__aw"].valid_cycles and not logs["bus__w"].valid_cycles
        assert writer.seen[-1][0] == 0


class TestErrors:
    @pytest.mark.parametrize("beat", [0, 15, 16, 70, 99])
    def test_on_any_beat(self, beat):
        errors = {0x1000 + 4 * beat: SLVERR, 0x3000: DECERR}
        writer = Writer(made(burst=16), latency=(5, 9), errors=errors)
        commands = [(0x1000, 100), (0x2000, 7), (0x3000, 2)]
        beats = writer.random_beats(Random(beat), 109)
        logs = writer.run(commands, beats)
        seen = [failed for _, failed, _ in writer.seen]
        at = logs["bus__b"].cycles[beat // 16] + 1
        assert seen[:at] == [Response.OKAY] * at
        assert seen[at:] == [Response.SLVERR] * (len(seen) - at)
        assert sum(done for _, _, done in writer.seen) == 3
        assert writer.seen[-1][0] == 1


class TestHalt:
    @pytest.mark.parametrize(
        ("at", "pace"),
        [*((at, 1.0) for at in range(16, 26)), (3, 0.5), (40, 0.3), (55, 0.9), (90, 0.5)],
    )
    def test_and_on_again(self, at, pace):
        dut = made(burst=16, ahead=40, data_width=64)
        writer = Writer(dut, latency=(12, 30), pace=pace, seed=at)
        rng = Random(at)
        old = [(0x1000 * k, 70) for k in range(1 + at % 12)]
        new = [(0x100_0000 + 0x1000 * k, 5 + 20 * k) for k in range(4)]
        # Data of the old commands are too few, or too many.
        old_beats = [(rng.getrandbits(64), 255) for _ in range(30 + at)]
        new_beats = [(rng.getrandbits(64), 255) for _ in range(sum(n for _, n in new))]
        again = []

        async def drive(ctx):
            """Offer what is old until the halt is over, then what is new."""
            cycle = 0
            left = writer.payloads(old, old_beats)
            streams = [dut.i, dut.data]
            signals = [signal for s in streams for signal in (s.valid, s.ready)]
            async for _, _, idle, *values in ctx.tick().sample(dut.idle, *signals):
                cycle += 1
                moved = [values[0] & values[1], values[2] & values[3]]
                for items, has_moved in zip(left.values(), moved, strict=True):
                    del items[:has_moved]
                if cycle == at:
                    ctx.set(dut.halt, 1)
                    # Somebody does not stop.
                    more = writer.payloads([(0, 9)] * 900, [(1, 255)] * 900)
                    left = {name: items + more[name] for name, items in left.items()}
                elif cycle > at + 1 and idle and not again:
                    again.append(cycle)
                    ctx.set(dut.halt, 0)
                    left = writer.payloads(new, new_beats)
                for s, items in zip(streams, left.values(), strict=True):
                    ctx.set(s.valid, bool(items))
                    ctx.set(s.payload.as_value(), items[0] if items else ~0)

        logs = writer.run([], [], beside=[drive], idle=120)
        pieces = [
            (piece["addr"], piece["len"] + 1)
            for command in old
            for piece in split(*command, beat_bytes=8, burst=16)
        ]
        begun = [cycle for cycle in logs["bus__aw"].cycles if cycle < again[0]]
        # What has begun is written with its own data, and nothing else.
        written = writer.contents(pieces[: len(begun)], old_beats)
        assert writer.memory.written == written | writer.contents(new, new_beats)
        # When the halt began, two requests were on their way at most.
        assert sum(cycle >= at for cycle in begun) <= 2
        done = [cycle for cycle, (_, _, pulse) in enumerate(writer.seen) if pulse]
        assert sum(cycle >= again[0] for cycle in done) == len(new)
        assert writer.checker.finish() == []
        assert writer.seen[-1][0] == 1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"ahead": 63}, ValueError, r"^Beats ahead must be at least a burst of 64, not 63$"),
        ({"ahead": None}, TypeError, r"^Beats ahead must be a positive integer, not None$"),
        ({"outstanding": 0}, ValueError, r"^Outstanding bursts must be a positive .* not 0$"),
        ({"burst": 3}, ValueError, r"^Burst must be a power of two, not 3$"),
        ({"longest": 0}, ValueError, r"^Longest command must be a positive integer, not 0$"),
        ({"data_width": 12}, ValueError, r"^Data width must be a power of two .* not 12$"),
    ],
)
def test_errors(changed, error, message):
    with pytest.raises(error, match=message):
        made(**changed)


def test_ports():
    dut = made()
    assert dut.bus.signature == AXI4Write(data_width=32, address_width=32)
    assert dut.i.payload.shape() == command_layout(address_width=32, beats=640)
    assert dut.data.payload.shape() == data_layout(data_width=32)
