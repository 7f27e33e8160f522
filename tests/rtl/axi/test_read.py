from random import Random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Read, ReadManager, Response, beat_layout, command_layout
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import simulate, to_bits

from .test_burst import split

SLVERR, DECERR = 2, 3


class Reader:
    """A manager, memory, and a checker between them."""

    def __init__(self, dut, **memory):
        bus = AXI4Read(
            data_width=dut.parameters["data_width"], address_width=dut.parameters["address_width"]
        )
        self.dut, self.bytes = dut, bus.beat_bytes
        self.memory, self.checker = Responder(bus, **memory), AXIChecker(bus)
        self.width = dut.parameters["data_width"]
        self.shape = command_layout(
            address_width=dut.parameters["address_width"], beats=dut.parameters["longest"]
        )
        self.seen = []  # of idle and failed, by cycle

    def run(self, commands, *, outputs=("o",), beside=(), cycles=20_000, idle=200, **pace):
        async def observe(ctx):
            async for _, _, *values in ctx.tick().sample(self.dut.idle, self.dut.failed):
                self.seen.append((values[0], Response(values[1])))

        sent = [to_bits(self.shape, {"addr": addr, "beats": beats}) for addr, beats in commands]
        bus = self.dut.bus
        logs = simulate(
            self.dut,
            inputs={"i": sent},
            outputs=outputs,
            watched=["bus__ar", "bus__r"],
            cycles=cycles,
            idle=idle,
            pace=pace,
            beside=[self.memory.process(bus), self.checker.process(bus), observe, *beside],
        )
        assert self.checker.broken == []
        assert logs["bus__r"].cycles == logs["bus__r"].valid_cycles  # nobody waits on R
        return logs

    def beats(self, commands):
        """Return what ``o`` has to hand over."""
        return [
            self.memory.beat(addr + k * self.bytes) | (k == beats - 1) << self.width
            for addr, beats in commands
            for k in range(beats)
        ]


def random_commands(rng, n, *, longest, beat_bytes):
    lengths = [1, 2, longest, rng.randint(1, longest)]
    near = [4096, 1 << 32, 0x1000_0000, rng.randint(1, 1 << 26) << 12]
    return [
        ((rng.choice(near) - rng.randrange(20) * beat_bytes), rng.choice(lengths)) for _ in range(n)
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
class TestReading:
    def test_random(self, parameters):
        rng = Random(str(parameters))
        reader = Reader(ReadManager(**parameters), latency=(1, 25), pace=0.7, seed=1)
        commands = random_commands(rng, 10, longest=parameters["longest"], beat_bytes=reader.bytes)
        logs = reader.run(commands, i=0.5, o=0.8)
        assert logs["o"].items == reader.beats(commands)
        bursts = [
            (piece["addr"], piece["len"] + 1)
            for command in commands
            for piece in split(*command, beat_bytes=reader.bytes, burst=parameters["burst"])
        ]
        assert reader.memory.reads == bursts
        assert reader.checker.finish() == []
        assert reader.seen[-1] == (1, Response.OKAY)

    def test_never_ready(self, parameters):
        """Memory is asked for as many beats as there is room for; nothing comes twice."""
        parameters = {**parameters, "outstanding": 64}
        reader = Reader(ReadManager(**parameters))
        commands = [(0, parameters["longest"])] * 40
        logs = reader.run(commands, cycles=700, idle=80, o=0)
        valid = logs["o"].valid_cycles
        assert valid == list(range(valid[0], valid[-1] + 1))
        asked = sum(beats for _, beats in reader.memory.reads)
        ahead = parameters["ahead"]
        assert max(ahead - parameters["burst"], 0) < asked <= ahead
        assert len(logs["bus__r"].items) == asked
        assert reader.seen[-1][0] == 0

    def test_conversion(self, parameters):
        emit(ReadManager(**parameters), verilog=True)


def made(**changed):
    return ReadManager(**{"data_width": 32, "longest": 640, "address_width": 32, **changed})


class TestSpeed:
    def cycles(self, latency, commands=((0, 640), (0x10000, 640)), **changed):
        reader = Reader(made(**changed), latency=(latency, latency))
        logs = reader.run(commands)
        assert logs["o"].items == reader.beats(commands)
        return logs["o"].cycles

    def test_latency(self):
        reader = Reader(made(), latency=(10, 10))
        logs = reader.run([(0, 1), (64, 1)])
        assert logs["bus__ar"].cycles == [4, 8]
        assert logs["bus__r"].cycles == [14, 18]
        assert logs["o"].cycles == [17, 21]

    def test_small_buffer_has_a_cycle_less(self):
        assert self.cycles(10, [(0, 1)], ahead=64) == [16]

    def test_one_beat_a_cycle(self):
        assert self.cycles(100) == list(range(107, 107 + 1280))

    @pytest.mark.parametrize(("latency", "burst"), [(100, 64), (20, 16), (40, 4)])
    def test_how_far_ahead(self, latency, burst):
        """What the documentation asks for is enough, and little less is not."""
        enough = latency + burst + 5
        cycles = self.cycles(latency, burst=burst, ahead=enough)
        assert cycles[-1] - cycles[0] == 1279
        cycles = self.cycles(latency, burst=burst, ahead=enough - 4)
        assert cycles[-1] - cycles[0] > 1285

    def test_default(self):
        cycles = self.cycles(187)
        assert cycles[-1] - cycles[0] == 1279


class TestErrors:
    @pytest.mark.parametrize("beat", [0, 15, 16, 70, 99])
    def test_on_any_beat(self, beat):
        errors = {0x1000 + 4 * beat: SLVERR, 0x3000: DECERR}
        reader = Reader(made(burst=16), latency=(5, 9), errors=errors)
        commands = [(0x1000, 100), (0x2000, 7), (0x3000, 2)]
        logs = reader.run(commands)
        assert logs["o"].items == reader.beats(commands)
        seen = [failed for _, failed in reader.seen]
        at = logs["bus__r"].cycles[beat] + 1
        assert seen[:at] == [Response.OKAY] * at
        assert seen[at:] == [Response.SLVERR] * (len(seen) - at)
        assert reader.seen[-1][0] == 1

    def test_exclusive_okay_is_no_error(self):
        reader = Reader(made(), errors={0: 1, 4: DECERR})
        with pytest.raises(AssertionError, match="exclusive"):
            reader.run([(0, 8)])
        assert {failed for _, failed in reader.seen} == {Response.OKAY, Response.DECERR}


class TestHalt:
    @pytest.mark.parametrize(
        ("at", "pace"),
        [*((at, 1.0) for at in range(1, 9)), (25, 0.5), (40, 1.0), (60, 0.5), (90, 0.9)],
    )
    def test_and_on_again(self, at, pace):
        dut = made(burst=16, ahead=48, data_width=64)
        reader = Reader(dut, latency=(12, 30), pace=pace, seed=at)
        rng = Random(at)
        halted, again = [], []
        got = []  # from o, after the halt

        async def halt(ctx):
            cycle = 0
            ready = 0
            signals = [dut.idle, dut.o.valid, dut.o.payload.as_value()]
            async for _, _, idle, valid, item in ctx.tick().sample(*signals):
                cycle += 1
                if again and valid and ready:
                    got.append(item)
                if halted and not again:
                    if idle and cycle > at + 1:
                        again.append(cycle)
                        ctx.set(dut.halt, 0)
                elif cycle == at:
                    halted.append(cycle)
                    ctx.set(dut.halt, 1)
                ready = rng.random() < 0.5 and len(halted) == len(again)
                ctx.set(dut.o.ready, ready)

        # Commands of before lie below those of after; some are offered during the halt.
        before = [(0x1000 * k, 70) for k in range(1 + at % 12)]
        after = [(0x100_0000 + 0x1000 * k, 5 + 20 * k) for k in range(3)]
        logs = reader.run(
            [*before, *after],
            outputs=[],
            beside=[halt],
            i=lambda cycle: bool(again) or cycle < at + 3,
            idle=250,
        )
        assert halted and again
        taken = dict(zip([*before, *after], logs["i"].cycles, strict=True))
        kept = [command for command, cycle in taken.items() if cycle >= again[0]]
        assert got == reader.beats(kept)
        # After the halt no new request began: one was valid at most.
        asked = [c for c in logs["bus__ar"].cycles if halted[0] <= c < again[0]]
        assert len(asked) <= 1
        assert reader.checker.finish() == []
        assert reader.seen[-1][0] == 1


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
    assert dut.bus.signature == AXI4Read(data_width=32, address_width=32)
    assert dut.i.payload.shape() == command_layout(address_width=32, beats=640)
    assert dut.o.payload.shape() == beat_layout(data_width=32)
