from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import (
    AXI4Read,
    AXI4Write,
    ReadManager,
    ReadShare,
    WriteManager,
    WriteShare,
    beat_layout,
    command_layout,
    data_layout,
)
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import from_bits, simulate, to_bits

WIDTHS = {"address_width": 32, "data_width": 32}
COMMAND = command_layout(address_width=32, beats=100)
BEAT = data_layout(data_width=32)
SIZES = [1, 3, 9]


class Readers(Component):
    """Managers that share a bus."""

    def __init__(self, *, n, burst=8, ahead=24):
        self.n = n
        self.manager = dict(WIDTHS, longest=100, burst=burst, ahead=ahead)
        bus = AXI4Read(**WIDTHS, id_width=max((n - 1).bit_length(), 1))
        super().__init__(
            {
                "i": In(stream.Signature(COMMAND)).array(n),
                "o": Out(stream.Signature(beat_layout(data_width=32))).array(n),
                "bus": Out(bus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.share = share = ReadShare(n=self.n, **WIDTHS)
        for k in range(self.n):
            m.submodules[f"manager_{k}"] = manager = ReadManager(**self.manager)
            wiring.connect(m, manager.bus, share.manager[k])
            connect_stream(m, wiring.flipped(self.i[k]), manager.i)
            connect_stream(m, manager.o, wiring.flipped(self.o[k]))
        wiring.connect(m, share.bus, wiring.flipped(self.bus))
        return m


class Writers(Component):
    """Managers that share a bus."""

    def __init__(self, *, n, burst=8, ahead=24):
        self.n = n
        self.manager = dict(WIDTHS, longest=100, burst=burst, ahead=ahead)
        bus = AXI4Write(**WIDTHS, id_width=max((n - 1).bit_length(), 1))
        super().__init__(
            {
                "i": In(stream.Signature(COMMAND)).array(n),
                "data": In(stream.Signature(BEAT)).array(n),
                "done": Out(n),
                "bus": Out(bus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.share = share = WriteShare(n=self.n, **WIDTHS)
        for k in range(self.n):
            m.submodules[f"manager_{k}"] = manager = WriteManager(**self.manager)
            wiring.connect(m, manager.bus, share.manager[k])
            connect_stream(m, wiring.flipped(self.i[k]), manager.i)
            connect_stream(m, wiring.flipped(self.data[k]), manager.data)
            m.d.comb += self.done[k].eq(manager.done)
        wiring.connect(m, share.bus, wiring.flipped(self.bus))
        return m


def commands_of(n, rng):
    """Return commands for each manager, in a region of its own."""
    return [
        [((k << 20) + 4 * rng.randrange(5000), rng.randint(1, 30)) for _ in range(3 - n // 4)]
        for k in range(n)
    ]


def to_send(commands):
    return {
        f"i__{k}": [to_bits(COMMAND, {"addr": a, "beats": n}) for a, n in mine]
        for k, mine in enumerate(commands)
    }


@pytest.mark.parametrize("n", SIZES)
class TestReadShare:
    def run(self, n, commands, *, dut=None, memory=None, **pace):
        dut = dut or Readers(n=n)
        memory = Responder(dut.bus.signature, **(memory or {}))
        checker = AXIChecker(dut.bus.signature)
        logs = simulate(
            dut,
            inputs=to_send(commands),
            outputs=[f"o__{k}" for k in range(n)],
            watched=["bus__ar", "bus__r"],
            cycles=10_000,
            idle=100,
            pace=pace,
            beside=[memory.process(dut.bus), checker.process(dut.bus)],
        )
        assert checker.broken == [] and checker.finish() == []
        for k, mine in enumerate(commands):
            assert logs[f"o__{k}"].items == [
                memory.beat(addr + 4 * j) | (j == beats - 1) << 32
                for addr, beats in mine
                for j in range(beats)
            ]
        return logs

    def test_random(self, n):
        pace = {f"o__{k}": 0.2 + 0.8 * k / n for k in range(n)}
        memory = {"latency": (1, 40), "pace": 0.8, "seed": n}
        logs = self.run(n, commands_of(n, Random(n)), memory=memory, **pace)
        if n > 1:
            id_width = (n - 1).bit_length()
            ids = [item & (1 << id_width) - 1 for item in logs["bus__r"].items]
            is_last = [item >> id_width + 34 for item in logs["bus__r"].items]
            changes = zip(ids, ids[1:], is_last, strict=False)
            assert sum(a != b and not last for a, b, last in changes) > 5  # they do mix

    def test_one_that_takes_nothing_stops_nobody(self, n):
        dut = Readers(n=n)
        commands = commands_of(n, Random(n))
        memory = Responder(dut.bus.signature)
        logs = simulate(
            dut,
            inputs=to_send(commands),
            outputs=[f"o__{k}" for k in range(n)],
            cycles=10_000,
            idle=60,
            pace={"o__0": 0},
            beside=[memory.process(dut.bus)],
        )
        for k in range(1, n):
            assert len(logs[f"o__{k}"].items) == sum(beats for _, beats in commands[k])

    def test_full_rate(self, n):
        """All beats of all managers, one a cycle from the first to the last."""
        commands = [[(k << 20, min(96, 200 // n // 8 * 8))] for k in range(n)]
        dut = Readers(n=n, ahead=64)
        logs = self.run(n, commands, dut=dut, memory={"latency": (10, 10)})
        cycles = logs["bus__r"].cycles
        assert len(cycles) == sum(beats for ((_, beats),) in commands)
        assert cycles[-1] - cycles[0] == len(cycles) - 1
        # One manager has wires; else a register, and somebody else's turn.
        assert logs["bus__ar"].cycles[0] == 4 + (n > 1) + (n > 8)

    def test_conversion(self, n):
        emit(ReadShare(n=n, data_width=512), verilog=True)


@pytest.mark.parametrize("n", SIZES)
class TestWriteShare:
    def run(self, n, commands, *, memory=None, beside=None, **pace):
        dut = Writers(n=n)
        memory = Responder(dut.bus.signature, **(memory or {}))
        checker = AXIChecker(dut.bus.signature)
        rng = Random(n)
        beats = [
            [(rng.getrandbits(32), rng.randint(0, 15)) for _ in range(sum(b for _, b in mine))]
            for mine in commands
        ]
        sent = {
            f"data__{k}": [to_bits(BEAT, {"data": d, "strb": s}) for d, s in mine]
            for k, mine in enumerate(beats)
        }
        done = [0] * n

        async def count(ctx):
            async for _, _, pulses in ctx.tick().sample(dut.done):
                for k in range(n):
                    done[k] += pulses >> k & 1

        logs = simulate(
            dut,
            inputs=to_send(commands) | sent,
            outputs=[],
            watched=["bus__aw", "bus__w", "bus__b"],
            cycles=10_000,
            idle=100,
            pace=pace,
            beside=[memory.process(dut.bus), checker.process(dut.bus), count]
            + ([beside(memory)] if beside else []),
        )
        assert checker.broken == [] and checker.finish() == []
        expected = {}
        for mine, theirs in zip(commands, beats, strict=True):
            left = iter(theirs)
            for addr, m in mine:
                for at in range(addr, addr + 4 * m, 4):
                    data, strb = next(left)
                    expected |= {at + j: data >> 8 * j & 255 for j in range(4) if strb >> j & 1}
        assert memory.written == expected
        assert done == [len(mine) for mine in commands]
        return logs

    def test_random(self, n):
        pace = {f"data__{k}": 0.2 + 0.8 * k / n for k in range(n)}
        self.run(
            n,
            commands_of(n, Random(n)),
            memory={"latency": (1, 40), "pace": 0.8, "seed": n, "w_first": n != 3},
            **pace,
        )

    def test_full_rate(self, n):
        commands = [[(k << 20, 48)] for k in range(n)]
        logs = self.run(n, commands, memory={"latency": (10, 10)})
        cycles = logs["bus__w"].cycles
        # The first burst of one manager goes while its second one comes in.
        assert cycles[-1] - cycles[0] == 48 * n - 1

    def test_nothing_is_lost_when_the_bus_stands_still(self, n):
        def stop(memory):
            async def process(ctx):
                for cycle in range(100):
                    memory.pace = float(not 30 < cycle < 70)
                    await ctx.tick()

            return process

        self.run(n, [[(k << 20, 48)] for k in range(n)], beside=stop)

    def test_late_data(self, n):
        """Managers that have no data yet hold up the bus, and lose nothing."""
        dut = WriteShare(n=n, **WIDTHS)
        checker, memory = AXIChecker(dut.bus.signature), Responder(dut.bus.signature)
        request, beat = dut.bus.aw.payload.shape(), dut.bus.w.payload.shape()
        of_manager = dut.manager[0].aw.payload.shape()
        sent = {}
        for k in range(n):
            sent[f"manager__{k}__aw"] = [
                to_bits(of_manager, {"id": 0, "addr": k << 20, "len": m, "size": 2, "burst": 1})
                for m in (0, 2, 1)
            ]
            sent[f"manager__{k}__w"] = [
                to_bits(beat, {"data": k, "strb": 15, "last": last}) for last in (1, 0, 0, 1, 0, 1)
            ]
        pace = {name: 0.2 for name in sent if name.endswith("w")}
        logs = simulate(
            dut,
            inputs=sent,
            outputs=[f"manager__{k}__b" for k in range(n)],
            watched=["bus__aw", "bus__w"],
            cycles=2000,
            idle=100,
            pace=pace,
            beside=[memory.process(dut.bus), checker.process(dut.bus)],
        )
        assert checker.broken == [] and checker.finish() == []
        assert len(logs["bus__w"].items) == 6 * n
        # Data are of the manager whose number its request has.
        at = 0
        for item in logs["bus__aw"].items:
            fields = from_bits(request, item)
            for _ in range(fields["len"] + 1):
                assert from_bits(beat, logs["bus__w"].items[at])["data"] == fields["id"]
                at += 1

    def test_conversion(self, n):
        emit(WriteShare(n=n, data_width=512), verilog=True)


@pytest.mark.parametrize("share", [ReadShare, WriteShare])
class TestConstructor:
    def test_ports(self, share):
        half = {ReadShare: AXI4Read, WriteShare: AXI4Write}[share]
        for n, id_width in [(1, 1), (2, 1), (3, 2), (8, 3), (9, 4)]:
            dut = share(n=n, **WIDTHS)
            assert dut.bus.signature == half(**WIDTHS, id_width=id_width)
            assert [port.signature.flip() for port in dut.manager] == [half(**WIDTHS)] * n

    @pytest.mark.parametrize(
        ("changed", "error", "message"),
        [
            ({"n": 0}, ValueError, r"^Number of managers must be a positive integer, not 0$"),
            ({"n": "2"}, TypeError, r"^Number of managers must be a positive integer, not '2'$"),
            ({"data_width": 24}, ValueError, r"^Data width must be a power of two .* not 24$"),
        ],
    )
    def test_errors(self, share, changed, error, message):
        with pytest.raises(error, match=message):
            share(**{"n": 2, **WIDTHS, **changed})
