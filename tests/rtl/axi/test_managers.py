"""Managers against a memory that answers late, in pieces, and in any legal order."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Read, ReadManager, ReadShare, WriteManager
from qkloom.rtl.axi.command import beat_layout, command_layout
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.axi.random_memory import RandomMemory
from qkloom.tb.simulate import from_bits, simulate, to_bits

WIDTH, BYTES, LONGEST = 64, 8, 1000


def commands_of(rng, n, longest):
    return [
        {
            "addr": rng.randrange(1 << 20) * BYTES,
            "beats": rng.choice([1, 2, rng.randint(1, longest)]),
        }
        for _ in range(n)
    ]


def bits_of(commands):
    layout = command_layout(address_width=64, beats=LONGEST)
    return [to_bits(layout, command) for command in commands]


def simulated(dut, memory, n, *, inputs, outputs, pace, cycles=60_000, beside=()):
    processes = []
    if hasattr(dut.bus, "r"):
        processes.append(memory.reader(dut.bus))
    if hasattr(dut.bus, "w"):
        processes.append(memory.writer(dut.bus))
    return simulate(
        dut,
        inputs=inputs,
        outputs=outputs,
        cycles=cycles,
        idle=200,
        pace=dict.fromkeys([*inputs, *outputs], pace),
        seed=n,
        watched=["bus__ar"] if hasattr(dut.bus, "ar") else ["bus__aw", "bus__w"],
        beside=[*processes, *beside],
    )


class TestRead:
    @pytest.mark.parametrize(
        ("burst", "ahead", "pace"), [(64, 192, 1.0), (16, 24, 0.5), (1, 2, 1.0)]
    )
    def test_reads_what_is_asked_for(self, burst, ahead, pace):
        rng = random.Random(burst)
        commands = commands_of(rng, 25, 40)
        memory = RandomMemory(beat_bytes=BYTES, seed=burst)
        dut = ReadManager(data_width=WIDTH, longest=LONGEST, burst=burst, ahead=ahead)
        log = simulated(
            dut, memory, burst, inputs={"i": bits_of(commands)}, outputs=["o"], pace=pace
        )
        expected = [
            {"data": memory.word(c["addr"] + BYTES * k), "last": int(k == c["beats"] - 1)}
            for c in commands
            for k in range(c["beats"])
        ]
        layout = beat_layout(data_width=WIDTH)
        assert [from_bits(layout, bits) for bits in log["o"].items] == expected
        assert memory.broken == []
        assert max(beats for _, _, beats in memory.reads) <= burst

    def test_a_beat_a_cycle(self):
        memory = RandomMemory(beat_bytes=BYTES, latency=(100, 100), pace=1.0)
        dut = ReadManager(data_width=WIDTH, longest=LONGEST)
        commands = [{"addr": 0, "beats": LONGEST}]
        log = simulated(dut, memory, 0, inputs={"i": bits_of(commands)}, outputs=["o"], pace=1.0)
        cycles = log["o"].cycles
        assert cycles[-1] - cycles[0] <= LONGEST * 100 // 95

    def test_holds_when_nobody_takes(self):
        memory = RandomMemory(beat_bytes=BYTES)
        dut = ReadManager(data_width=WIDTH, longest=LONGEST, burst=8, ahead=20)
        commands = [{"addr": 64, "beats": 100}]
        log = simulate(
            dut,
            inputs={"i": bits_of(commands)},
            outputs=["o"],
            cycles=1_000,
            pace={"o": lambda cycle: cycle > 800},
            beside=[memory.reader(dut.bus)],
        )
        assert log["o"].valid_cycles[0] < 100
        assert memory.broken == []

    def test_notes_the_first_error(self):
        memory = RandomMemory(beat_bytes=BYTES, error={80: 2, 96: 3})
        dut = ReadManager(data_width=WIDTH, longest=LONGEST, burst=8, ahead=20)
        seen = []

        async def look(ctx):
            async for _, _, failed in ctx.tick().sample(dut.failed):
                seen.append(failed)

        commands = [{"addr": 64, "beats": 10}]
        log = simulated(
            dut, memory, 0, inputs={"i": bits_of(commands)}, outputs=["o"], pace=1, beside=[look]
        )
        assert len(log["o"].items) == 10
        assert set(seen) == {0, 2}

    def test_halts_in_the_middle(self):
        memory = RandomMemory(beat_bytes=BYTES, latency=(40, 40))
        dut = ReadManager(data_width=WIDTH, longest=LONGEST, burst=8, ahead=64)
        seen = []

        async def halt(ctx):
            await ctx.tick().repeat(60)
            ctx.set(dut.halt, 1)
            async for _, _, idle in ctx.tick().sample(dut.idle):
                seen.append((idle, len(memory.reads), memory.n_beats))

        commands = [{"addr": 0, "beats": LONGEST}]
        simulated(
            dut, memory, 0, inputs={"i": bits_of(commands)}, outputs=["o"], pace=1, beside=[halt]
        )
        idle, reads, beats = seen[-1]
        assert idle and beats == sum(n for _, _, n in memory.reads) < LONGEST
        assert not seen[2][0]
        assert reads <= seen[0][1] + 1

    def test_errors(self):
        with pytest.raises(ValueError, match=r"^Beats ahead must be at least a burst, 64, not 32$"):
            ReadManager(data_width=64, longest=10, ahead=32)
        with pytest.raises(ValueError, match=r"^Burst must be at most 256, not 512$"):
            emit(ReadManager(data_width=64, longest=10, burst=512, ahead=1024))


class TestWrite:
    @pytest.mark.parametrize(("burst", "pace"), [(64, 1.0), (16, 0.5), (3, 1.0)])
    def test_writes_what_is_said(self, burst, pace):
        rng = random.Random(burst)
        memory = RandomMemory(beat_bytes=BYTES, seed=burst)
        expected, commands, beats = {}, [], []
        for number in range(25):
            n = rng.choice([1, 2, rng.randint(1, 40)])
            command = {"addr": (number << 16) + rng.randrange(512) * BYTES, "beats": n}
            commands.append(command)
            for k in range(n):
                word = rng.randrange(1 << WIDTH)
                strobes = 255 if k < n - 1 else rng.randrange(256)
                beats.append(word | strobes << WIDTH)
                for byte in range(BYTES):
                    if strobes >> byte & 1:
                        expected[command["addr"] + BYTES * k + byte] = word >> 8 * byte & 255
        dut = WriteManager(data_width=WIDTH, longest=LONGEST, burst=burst)
        done = []

        async def look(ctx):
            async for _, _, pulse in ctx.tick().sample(dut.done):
                done.append(pulse)

        simulated(
            dut,
            memory,
            burst,
            inputs={"i": bits_of(commands), "data": beats},
            outputs=[],
            pace=pace,
            beside=[look],
        )
        assert memory.bytes == expected
        assert memory.broken == []
        assert sum(done) == len(commands)

    def test_a_beat_a_cycle(self):
        memory = RandomMemory(beat_bytes=BYTES, latency=(100, 100), pace=1.0)
        dut = WriteManager(data_width=WIDTH, longest=LONGEST)
        log = simulated(
            dut,
            memory,
            0,
            inputs={
                "i": bits_of([{"addr": 0, "beats": LONGEST}]),
                "data": [255 << WIDTH] * LONGEST,
            },
            outputs=[],
            pace=1.0,
        )
        cycles = log["bus__w"].cycles
        assert cycles[-1] - cycles[0] <= LONGEST * 100 // 95

    def test_halts_between_bursts(self):
        memory = RandomMemory(beat_bytes=BYTES, latency=(40, 40))
        dut = WriteManager(data_width=WIDTH, longest=LONGEST, burst=8)
        seen = []

        async def halt(ctx):
            await ctx.tick().repeat(100)
            ctx.set(dut.halt, 1)
            async for _, _, idle in ctx.tick().sample(dut.idle):
                seen.append(idle)

        simulated(
            dut,
            memory,
            0,
            inputs={
                "i": bits_of([{"addr": 0, "beats": LONGEST}]),
                "data": [255 << WIDTH] * LONGEST,
            },
            outputs=[],
            pace=1.0,
            beside=[halt],
        )
        assert seen[-1] and not seen[2]
        assert len(memory.bytes) == BYTES * sum(n for _, _, n in memory.writes) < BYTES * LONGEST
        assert memory.broken == []

    def test_notes_the_first_error(self):
        memory = RandomMemory(beat_bytes=BYTES, error={BYTES * 15: 3})
        dut = WriteManager(data_width=WIDTH, longest=LONGEST, burst=8)
        seen = []

        async def look(ctx):
            async for _, _, failed in ctx.tick().sample(dut.failed):
                seen.append(failed)

        simulated(
            dut,
            memory,
            0,
            inputs={"i": bits_of([{"addr": 0, "beats": 30}]), "data": [255 << WIDTH] * 30},
            outputs=[],
            pace=1.0,
            beside=[look],
        )
        assert set(seen) == {0, 3}


class Shared(Component):
    """Three readers on a bus."""

    def __init__(self):
        command = command_layout(address_width=64, beats=LONGEST)
        super().__init__(
            {
                "i": In(stream.Signature(command)).array(3),
                "o": Out(stream.Signature(beat_layout(data_width=WIDTH))).array(3),
                "bus": Out(AXI4Read(data_width=WIDTH, id_width=2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.share = share = ReadShare(n=3, data_width=WIDTH, id_width=2)
        wiring.connect(m, share.o, wiring.flipped(self.bus))
        for k in range(3):
            m.submodules[f"manager_{k}"] = manager = ReadManager(
                data_width=WIDTH, longest=LONGEST, burst=8, ahead=24
            )
            connect_stream(m, wiring.flipped(self.i[k]), manager.i)
            connect_stream(m, manager.o, wiring.flipped(self.o[k]))
            wiring.connect(m, manager.bus, share.i[k])
        return m


class TestShare:
    def test_everybody_gets_their_own(self):
        rng = random.Random(5)
        memory = RandomMemory(beat_bytes=BYTES, seed=5)
        commands = [commands_of(rng, 8, 30) for _ in range(3)]
        dut = Shared()
        # One of them takes nothing for a long time, and the others go on.
        log = simulate(
            dut,
            inputs={f"i__{k}": bits_of(commands[k]) for k in range(3)},
            outputs=[f"o__{k}" for k in range(3)],
            cycles=8_000,
            pace={"o__1": lambda cycle: cycle > 4_000},
            watched=["bus__ar"],
            beside=[memory.reader(dut.bus)],
        )
        for k in range(3):
            words = [
                memory.word(c["addr"] + BYTES * beat)
                for c in commands[k]
                for beat in range(c["beats"])
            ]
            assert [bits & (1 << WIDTH) - 1 for bits in log[f"o__{k}"].items] == words
        assert log["o__0"].cycles[-1] < 4_000 > log["o__2"].cycles[-1]
        assert memory.broken == []
        assert {number for number, _, _ in memory.reads} == {0, 1, 2}

    def test_error(self):
        with pytest.raises(ValueError, match=r"^ID width must be at least 2 for 3, not 1$"):
            ReadShare(n=3, data_width=64, id_width=1)

    def test_emits(self):
        emit(Shared(), verilog=True)
        emit(WriteManager(data_width=256, longest=1024), verilog=True)
