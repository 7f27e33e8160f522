"""Outputs of lanes that take turns arrive in memory, each query block where its place is."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi.command import command_layout, data_layout
from qkloom.rtl.component import Component
from qkloom.rtl.formats import Fixed
from qkloom.rtl.mover.collect import Collector
from qkloom.rtl.mover.lane_queues import LaneQueues
from qkloom.rtl.mover.store import Storer
from qkloom.rtl.stream import connect_stream
from qkloom.tb.simulate import from_bits, simulate, to_bits

N_LANES, BEATS, DATA_WIDTH, OUT_WIDTH = 3, 4, 128, 2
ITEM = data.StructLayout({"row": data.ArrayLayout(Fixed(8, 16), OUT_WIDTH), "last": 1})


class Stored(Component):
    """Collector and storer; a command is done as soon as its beats have left."""

    def __init__(self, *, n_channels):
        self._n_channels = n_channels
        self._storer = {
            "n_lanes": N_LANES,
            "n_channels": n_channels,
            "data_width": DATA_WIDTH,
            "address_width": 64,
            "beats": BEATS,
        }
        members = Storer(**self._storer).signature.members
        tagged = data.StructLayout({"index": range(N_LANES), "item": ITEM})
        super().__init__(
            {
                "i": In(stream.Signature(tagged)),
                "places": members["places"],
                "commands": members["commands"],
                "beats": members["beats"],
                "written": Out(stream.Signature(1, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.collector = collector = Collector(
            item=ITEM, n_lanes=N_LANES, element_width=32, data_width=DATA_WIDTH, beats=BEATS
        )
        m.submodules.storer = storer = Storer(**self._storer)
        connect_stream(m, wiring.flipped(self.i), collector.i)
        connect_stream(m, wiring.flipped(self.places), storer.places)
        connect_stream(m, collector.chunks, storer.chunks)
        connect_stream(m, collector.data, storer.data)
        for k in range(self._n_channels):
            connect_stream(m, storer.commands[k], wiring.flipped(self.commands[k]))
            connect_stream(m, storer.beats[k], wiring.flipped(self.beats[k]))
            left = Signal(range(BEATS + 1), name=f"left_{k}")
            with m.If(self.commands[k].valid & self.commands[k].ready):
                m.d.sync += left.eq(self.commands[k].payload.beats)
            with m.If(self.beats[k].valid & self.beats[k].ready):
                m.d.sync += left.eq(left - 1)
                m.d.sync += storer.done[k].eq(left == 1)
            with m.Else():
                m.d.sync += storer.done[k].eq(0)
        m.d.comb += self.written.valid.eq(storer.written.any())
        return m


def query_blocks(rng, n, n_channels):
    """Return outputs of all lanes in turn, places of their blocks, and the words of memory."""
    blocks = {lane: [] for lane in range(N_LANES)}
    places, expected, address = [], {}, 0
    turns = []
    for _ in range(n):
        turns = turns or rng.sample(range(N_LANES), N_LANES)
        lane = turns.pop()
        items = rng.choice([1, 2, 7, 8, 9, 16, 21])
        # Near a carry into the upper half.
        base = (rng.randint(1, 1 << 31) << 32) - 0x100
        place = {"channel": rng.randrange(n_channels), "addr": base + address}
        places.append({"to": lane, "item": place})
        words = [rng.randrange(-(1 << 23), 1 << 23) for _ in range(items * OUT_WIDTH)]
        blocks[lane].append(words)
        for k, word in enumerate(words):
            expected[place["channel"], place["addr"] + 4 * k] = word & 0xFFFFFFFF
        address += -(-items * OUT_WIDTH * 4 // 16) * 16
    beats = []
    waiting = {
        lane: [
            {"row": words[k : k + OUT_WIDTH], "last": int(k + OUT_WIDTH == len(words))}
            for words in lane_blocks
            for k in range(0, len(words), OUT_WIDTH)
        ]
        for lane, lane_blocks in blocks.items()
    }
    while any(waiting.values()):
        lane = rng.choice([lane for lane, items in waiting.items() if items])
        beats.append({"index": lane, "item": waiting[lane].pop(0)})
    return beats, places, expected


@pytest.mark.parametrize(("n_channels", "pace"), [(1, 1.0), (2, 1.0), (2, 0.5), (4, 0.2)])
def test_outputs_are_where_their_places_are(n_channels, pace):
    beats, places, expected = query_blocks(random.Random(n_channels), 12, n_channels)
    dut = Stored(n_channels=n_channels)
    commands = [f"commands__{k}" for k in range(n_channels)]
    data_beats = [f"beats__{k}" for k in range(n_channels)]
    log = simulate(
        dut,
        inputs={
            "i": [to_bits(dut.i.payload.shape(), beat) for beat in beats],
            "places": [to_bits(dut.places.payload.shape(), place) for place in places],
        },
        outputs=[*commands, *data_beats, "written"],
        cycles=20_000,
        idle=100,
        pace=dict.fromkeys(["i", "places", *commands, *data_beats], pace),
        seed=n_channels,
    )
    found = {}
    for k in range(n_channels):
        moved = iter(log[data_beats[k]].items)
        for bits in log[commands[k]].items:
            command = from_bits(command_layout(address_width=64, beats=BEATS), bits)
            for number in range(command["beats"]):
                beat = from_bits(data_layout(data_width=DATA_WIDTH), next(moved))
                for word in range(4):
                    enabled = beat["strb"] >> 4 * word & 15
                    assert enabled in (0, 15)
                    if enabled:
                        where = k, command["addr"] + 16 * number + 4 * word
                        assert where not in found
                        found[where] = beat["data"] >> 32 * word & 0xFFFFFFFF
        assert next(moved, None) is None
    assert found == expected
    assert len(log["written"].items) == len(places)


def test_errors():
    with pytest.raises(ValueError, match=r"^2 elements of 32 bits must divide a beat of 96$"):
        Collector(item=ITEM, n_lanes=1, element_width=32, data_width=96, beats=4)
    with pytest.raises(ValueError, match=r"^Number of lanes must be a positive integer, not 0$"):
        LaneQueues(shape=8, n=0)


def test_emits():
    emit(Stored(n_channels=2), verilog=True)


def test_no_more_commands_than_ends_can_be_kept_of():
    """Sixteen of a channel; what is written then says whether it was the last of its block."""
    storer = {"n_lanes": 1, "n_channels": 1, "data_width": DATA_WIDTH, "address_width": 64}
    dut = Storer(**storer, beats=BEATS)
    chunks = [{"lane": 0, "beats": 1, "ends": k % 3 == 2} for k in range(24)]
    written = []

    async def answer(ctx):
        for _ in range(400):
            await ctx.tick()
        for _ in chunks:
            ctx.set(dut.done, 1)
            _, _, is_last = await ctx.tick().sample(dut.written)
            written.append(is_last)
            ctx.set(dut.done, 0)
            for _ in range(15):
                await ctx.tick()

    log = simulate(
        dut,
        inputs={
            "chunks": [to_bits(dut.chunks.payload.shape(), chunk) for chunk in chunks],
            "places": [
                to_bits(dut.places.payload.shape(), {"to": 0, "item": {"channel": 0, "addr": a}})
                for a in range(0, 8 * 4096, 4096)
            ],
            "data": [0] * len(chunks),
        },
        outputs=["commands__0", "beats__0"],
        cycles=1200,
        beside=[answer],
    )
    cycles = log["commands__0"].cycles
    assert len(cycles) == len(chunks)
    assert cycles[15] < 400 <= cycles[16]
    assert written == [chunk["ends"] for chunk in chunks]
