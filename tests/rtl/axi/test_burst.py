from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi.burst import BurstSplitter, burst_layout
from qkloom.rtl.axi.command import command_layout
from qkloom.rtl.axi.signature import BEATS
from qkloom.rtl.component import Component
from qkloom.rtl.formats import ceil_log2
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness
from qkloom.tb.simulate import from_bits, simulate, to_bits

PAGE = 4096
TAKE, MEASURE, OFFER = range(3)


def split(addr, beats, *, beat_bytes, burst):
    """Return the bursts of a command: address, ``len``, ``last``."""
    found = []
    block = min(burst * beat_bytes, PAGE)
    while beats:
        n = min(beats, (block - addr % block) // beat_bytes)
        beats -= n
        found.append({"addr": addr, "len": n - 1, "last": int(not beats)})
        addr += n * beat_bytes
    return found


class SplitterClaims(Component):
    """Bursts are the command, piece by piece; none is too long or crosses 4 KB."""

    def __init__(self, *, data_width, address_width, longest, burst):
        self.shape = dict(
            data_width=data_width, address_width=address_width, longest=longest, burst=burst
        )
        self.bytes = data_width // 8
        self.block = min(burst, PAGE // self.bytes)
        beat_bits = ceil_log2(self.bytes)
        block_bits = ceil_log2(self.block)
        widths = {
            "offset": block_bits,
            "final": block_bits,
            "blocks": max(longest.bit_length() + 1 - block_bits, 1),
            "low": min(32, address_width) - beat_bits - block_bits,
            "high": max(address_width - 32, 0),
            "carry": int(address_width > 32),
            "fsm_state": 2,
        }
        inner = {name: In(width) for name, width in widths.items()}
        self.peek = {name: f"dut.{name}" for name, width in widths.items() if width}
        command = command_layout(address_width=address_width, beats=longest)
        super().__init__(
            {
                "halt": In(1),
                "i": In(stream.Signature(command)),
                "ready": In(1),
                "several": Out(1),
                **inner,
            }
        )
        self.beat_bits = beat_bits

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = BurstSplitter(**self.shape)
        connect_stream(m, wiring.flipped(self.i), dut.i)
        m.d.comb += [dut.halt.eq(self.halt), dut.o.ready.eq(self.ready)]
        command, piece = dut.i.payload, dut.o.payload
        width = len(command.addr)
        obey(m, Assume, self.i, "i")
        obey(m, Assert, dut.o, "o")
        m.d.comb += [
            Assume((command.beats != 0) & (command.beats <= self.shape["longest"])),
            Assume(command.addr[: self.beat_bits] == 0),
        ]

        left = Signal(len(command.beats), reset_less=True)
        next_addr = Signal(width, reset_less=True)
        beats = Signal(range(BEATS + 1))
        first_bursts = Signal(2)
        m.d.comb += [beats.eq(piece.len + 1), self.several.eq(first_bursts == 3)]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [left.eq(command.beats), next_addr.eq(command.addr), first_bursts.eq(0)]
        in_page = Signal(range(2 * PAGE + 1))
        m.d.comb += in_page.eq(piece.addr[:12] + beats * self.bytes)
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(piece.addr == next_addr),
                Assert(beats <= left),
                Assert(piece.last == (beats == left)),
                Assert(beats <= self.shape["burst"]),
                Assert(in_page <= PAGE),
            ]
            with m.If(dut.o.ready):
                m.d.sync += [
                    left.eq(left - beats),
                    next_addr.eq(next_addr + (beats << self.beat_bits)),
                    first_bursts.eq(first_bursts + (first_bursts != 3)),
                ]

        # What the inner state stands for.
        offset = Signal(range(self.block + 1))
        last = Signal(range(self.block + 1))  # number of beats up to the last one in this block
        at = Signal(width)
        high = Signal(len(self.high))
        m.d.comb += [
            high.eq(self.high + (self.carry & (self.fsm_state == MEASURE))),
            offset.eq(self.offset),
            last.eq(Mux(self.blocks == 0, self.final + 1, self.block)),
            at.eq(Cat(Const(0, self.beat_bits), self.offset, self.low, high)),
            Assert(self.fsm_state <= OFFER),
        ]
        with m.If(self.fsm_state != TAKE):
            m.d.comb += [
                Assert((left != 0) & (left <= self.shape["longest"])),
                Assert(Cat(self.final, self.blocks) + 1 == left + offset),
                Assert(at == next_addr),
            ]
        with m.If(self.fsm_state == OFFER):
            m.d.comb += [
                Assert(offset + beats == last),
                Assert(piece.last == (self.blocks == 0)),
            ]
        return m


@pytest.mark.parametrize(
    ("data_width", "address_width", "longest", "burst"),
    [(256, 64, 4096, 64), (1024, 33, 70, 64), (8, 12, 300, 256), (32, 32, 5, 1)],
)
def test_proof(require, data_width, address_width, longest, burst):
    require("yosys")
    claims = SplitterClaims(
        data_width=data_width, address_width=address_width, longest=longest, burst=burst
    )
    design = emit(claims, name="claims")
    prove(design, depth=4, peek=claims.peek)
    assert witness(design, "several", depth=10) == 8


def run(dut, commands, *, cycles=20_000, beside=(), **pace):
    layout = command_layout(
        address_width=dut.parameters["address_width"], beats=dut.parameters["longest"]
    )
    sent = [to_bits(layout, {"addr": addr, "beats": beats}) for addr, beats in commands]
    logs = simulate(
        dut,
        inputs={"i": sent},
        outputs=["o"],
        cycles=cycles,
        idle=20,
        pace=pace,
        beside=beside,
    )
    shape = burst_layout(address_width=dut.parameters["address_width"])
    return logs, [from_bits(shape, item) for item in logs["o"].items]


@pytest.mark.parametrize(
    ("data_width", "address_width", "longest", "burst"),
    [
        (256, 64, 4096, 64),
        (512, 64, 1000, 64),
        (1024, 33, 70, 64),  # 4 KB are 32 beats
        (8, 12, 300, 256),
        (32, 32, 5, 1),
        (64, 45, 1, 2),
        (64, 64, 300, 256),
    ],
)
class TestBursts:
    def test_all_bursts(self, data_width, address_width, longest, burst):
        rng = Random(f"{data_width} {longest}")
        beat_bytes = data_width // 8
        top = (1 << address_width) - longest * beat_bytes
        near = [PAGE, 1 << min(32, address_width), PAGE * 5, 1 << address_width - 1]
        commands = [(0, longest), (0, 1)]
        for _ in range(40):
            n = rng.choice([1, longest, rng.randint(1, longest)])
            around = rng.choice([rng.choice(near), rng.randrange(1 << address_width)])
            addr = (around - rng.randrange(2 * longest) * beat_bytes) // beat_bytes * beat_bytes
            commands.append((min(max(addr, 0), top), n))
        dut = BurstSplitter(
            data_width=data_width, address_width=address_width, longest=longest, burst=burst
        )
        _, found = run(dut, commands, i=0.6, o=0.7)
        assert found == [
            piece
            for command in commands
            for piece in split(*command, beat_bytes=beat_bytes, burst=burst)
        ]
        for piece in found:
            end = piece["addr"] + (piece["len"] + 1) * beat_bytes
            assert piece["addr"] // PAGE == (end - 1) // PAGE
            assert piece["len"] < burst

    def test_conversion(self, data_width, address_width, longest, burst):
        rtlil.convert(
            BurstSplitter(
                data_width=data_width, address_width=address_width, longest=longest, burst=burst
            )
        )


class TestTiming:
    def dut(self):
        return BurstSplitter(data_width=32, address_width=32, longest=100, burst=16)

    def test_latency_and_rate(self):
        logs, _ = run(self.dut(), [(64, 48), (128, 1)])
        assert logs["i"].cycles == [0, 7]
        assert logs["o"].cycles == [2, 4, 6, 9]

    def test_never_ready(self):
        logs, _ = run(self.dut(), [(64, 48)] * 3, cycles=20, o=0)
        assert logs["o"].valid_cycles == list(range(2, 20))

    def test_halt(self):
        """The burst on offer is the last one of its command; other commands have none."""
        dut = self.dut()
        busy = []

        async def halt(ctx):
            for cycle in range(40):
                ctx.set(dut.halt, 7 <= cycle < 15)
                *_, is_busy = await ctx.tick().sample(dut.busy)
                busy.append(is_busy)

        commands = [(0, 96), (640, 1), (1280, 2)]
        pace = {"o": lambda cycle: cycle >= 10, "i": lambda cycle: cycle < 2 or cycle > 15}
        logs, found = run(dut, commands, beside=[halt], **pace)
        assert logs["o"].cycles == [10, 18]
        assert [(piece["addr"], piece["last"]) for piece in found] == [(0, 0), (1280, 1)]
        assert busy[:12] == [0] + [1] * 10 + [0]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"data_width": 24}, ValueError, r"^Data width must be a power of two .* not 24$"),
        ({"address_width": 11}, ValueError, r"^Address width must be at least 12, not 11$"),
        ({"longest": 0}, ValueError, r"^Longest command must be a positive integer, not 0$"),
        ({"longest": "9"}, TypeError, r"^Longest command must be a positive integer, not '9'$"),
        ({"burst": 48}, ValueError, r"^Burst must be a power of two, not 48$"),
        ({"burst": 512}, ValueError, r"^Burst must be at most 256, not 512$"),
    ],
)
def test_errors(changed, error, message):
    with pytest.raises(error, match=message):
        BurstSplitter(**{"data_width": 64, "longest": 16, **changed})
