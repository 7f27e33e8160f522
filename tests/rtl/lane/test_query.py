"""The query buffer keeps each slot's rows until the slot is freed."""

import random
import re

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.lane.query import QueryBuffer
from qkloom.tb.simulate import from_bits, reader, simulate, to_bits

SHAPES = {
    "two slots": {"size": 4, "block_rows": 4, "head_dim": 8, "slots": 2},
    "odd sizes": {"size": 2, "block_rows": 5, "head_dim": 6, "slots": 3},
    "elements of 4 bits": {
        "size": 4,
        "block_rows": 3,
        "head_dim": 8,
        "slots": 2,
        "stream_width": 4,
    },
    "one of each": {"size": 4, "block_rows": 1, "head_dim": 4, "slots": 1},
}


class Blocks:
    """Query blocks, each in a random slot."""

    def __init__(self, *, n, seed, size, block_rows, head_dim, slots, stream_width=8):
        rng = random.Random(seed)
        n_tiles = head_dim // size
        end = 1 << stream_width - 1
        self.tile_bits = (n_tiles - 1).bit_length()
        self.loads = [
            {
                "slot": rng.randrange(slots),
                "rows": rng.randint(1, block_rows),
                "d_tiles": rng.randint(1, n_tiles),
            }
            for _ in range(n)
        ]
        self.rows = [
            [
                [[rng.randrange(-end, end) for _ in range(size)] for _ in range(load["d_tiles"])]
                for _ in range(load["rows"])
            ]
            for load in self.loads
        ]

    def inputs(self, dut):
        shape = dut.i.payload.shape()
        chunks = [chunk for block in self.rows for row in block for chunk in row]
        return {
            "load": [to_bits(dut.load.payload.shape(), load) for load in self.loads],
            "i": [to_bits(shape, chunk) for chunk in chunks],
        }

    def places(self, n):
        """Return (bank, address) of each chunk of block ``n``."""
        load = self.loads[n]
        return [
            (load["slot"], tile | row << self.tile_bits)
            for row in range(load["rows"])
            for tile in range(load["d_tiles"])
        ]


@pytest.mark.parametrize("pace", [1.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_blocks_are_there_when_loaded_and_stay_until_freed(shape, pace):
    dut = QueryBuffer(**shape)
    blocks = Blocks(n=12, seed=1, **shape)
    rng = random.Random(2)
    # Others load between the first and the last time that a block is read.
    places = [3 * blocks.places(n) for n in range(len(blocks.loads))]
    found = []

    async def free(ctx):
        for n, load in enumerate(blocks.loads):
            while len(found) <= n or len(found[n]) < len(places[n]) or rng.random() < 0.7:
                await ctx.tick()
            ctx.set(dut.freed.valid, 1)
            ctx.set(dut.freed.payload.slot, load["slot"])
            await ctx.tick()
            ctx.set(dut.freed.valid, 0)

    log = simulate(
        dut,
        inputs=blocks.inputs(dut),
        outputs=["loaded"],
        cycles=3000,
        idle=100,
        pace={"load": pace, "i": pace},
        beside=[free, reader(dut.loaded, dut.r, places, found)],
    )
    slots = [from_bits(dut.loaded.payload.shape(), item)["slot"] for item in log["loaded"].items]
    assert slots == [load["slot"] for load in blocks.loads]
    assert found == [3 * [chunk for row in block for chunk in row] for block in blocks.rows]
    assert log["loaded"].cycles == [cycle + 1 for cycle in log["load"].cycles]


def test_a_row_a_cycle_readable_from_the_cycle_after_the_last():
    shape = SHAPES["two slots"]
    dut = QueryBuffer(**shape)
    blocks = Blocks(n=1, seed=3, **shape)
    places = blocks.places(0)[::-1]  # the last row first
    found = []
    log = simulate(
        dut,
        inputs=blocks.inputs(dut),
        outputs=["loaded"],
        cycles=60,
        idle=30,
        beside=[reader(dut.loaded, dut.r, [places], found)],
    )
    assert log["i"].cycles == list(range(len(places)))
    assert log["loaded"].cycles == [len(places)]
    assert found == [[chunk for row in blocks.rows[0] for chunk in row][::-1]]


@pytest.mark.parametrize("freed_at", [None, 5, 20])
def test_a_slot_in_use_takes_nothing(freed_at):
    dut = QueryBuffer(size=4, block_rows=2, head_dim=4, slots=2)
    load = to_bits(dut.load.payload.shape(), {"slot": 1, "rows": 2, "d_tiles": 1})
    freed = [to_bits(dut.freed.payload.shape(), {"slot": 1})] if freed_at else []
    log = simulate(
        dut,
        inputs={"load": [load, load], "i": [0] * 4, "freed": freed},
        outputs=["loaded"],
        cycles=40,
        pace={"freed": lambda cycle: cycle == freed_at},
    )
    assert log["i"].cycles == [0, 1] + ([freed_at + 1, freed_at + 2] if freed_at else [])


def test_other_slots_load_meanwhile():
    dut = QueryBuffer(size=4, block_rows=2, head_dim=4, slots=3)
    shape = dut.load.payload.shape()
    loads = [to_bits(shape, {"slot": slot, "rows": 2, "d_tiles": 1}) for slot in (0, 2, 1)]
    log = simulate(dut, inputs={"load": loads, "i": [0] * 6}, outputs=["loaded"], cycles=20)
    slots = [from_bits(dut.loaded.payload.shape(), item)["slot"] for item in log["loaded"].items]
    assert (slots, log["loaded"].cycles) == ([0, 2, 1], [2, 4, 6])


def test_nothing_is_taken_before_a_load():
    dut = QueryBuffer(**SHAPES["two slots"])
    log = simulate(dut, inputs={"load": [], "i": [0]}, outputs=["loaded"], cycles=20)
    assert log["i"].items == log["loaded"].valid_cycles == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slots": 0}, "Slots must be a positive integer, not 0"),
        ({"head_dim": 6}, "Head_dim must be a multiple of size 4, not 6"),
        ({"stream_width": 5}, "Stream width must be 4 or 8, not 5"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        QueryBuffer(**SHAPES["two slots"] | change)


def test_it_emits():
    rtlil = emit(QueryBuffer(**SHAPES["odd sizes"])).rtlil
    assert rtlil.count("cell $memrd_v2") == 1
