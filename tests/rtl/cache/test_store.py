"""Lanes get the rows that memory brought, whenever they come and whoever waits."""

import random
from itertools import pairwise

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from qkloom.gen.emit import emit
from qkloom.rtl.cache.store import RowStore
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"n_lanes": 3, "size": 2, "block": 6, "head_dim": 6, "element_width": 8}
PARTS = ("2", "3+ultra", "2+block")


class Granted(Component):
    """A store whose fills begin when all but the last few visits before have been served."""

    def __init__(self, *, parts, lookahead, bank):
        self.store = RowStore(parts=parts, **SHAPE, bank=bank)
        self._lookahead = lookahead
        members = dict(self.store.signature.members)
        fill = members["fills"].signature.members["payload"].shape
        numbered = data.StructLayout({"fill": fill, "visit": 16})
        super().__init__(members | {"fills": In(stream.Signature(numbered))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = self.store
        n_served = Signal(16)
        m.d.sync += n_served.eq(n_served + store.served)
        may = Signal()
        m.d.comb += [
            may.eq(self.fills.payload.visit < n_served + self._lookahead),
            store.d_tiles.eq(self.d_tiles),
            self.served.eq(store.served),
            store.fills.payload.eq(self.fills.payload.fill),
            store.fills.valid.eq(self.fills.valid & may),
            self.fills.ready.eq(store.fills.ready & may),
        ]
        for name in ("rows", "visits", "tiles"):
            connect_stream(m, wiring.flipped(getattr(self, name)), getattr(store, name))
        connect_stream(m, store.o, wiring.flipped(self.o))
        return m


LOOKAHEAD = 3


def script(rng, n, *, d_tiles, slots, lookahead=LOOKAHEAD, share=0.5):
    """Return what goes in, and the rows that come out: (lanes, row, last)."""
    held = {}
    latest = []  # slots of granted visits: they keep what they have
    given = {"fills": [], "rows": [], "visits": [], "tiles": []}
    out = []
    for number in range(n):
        fetch = not held or rng.random() < share
        free = sorted(set(range(slots)) - set(latest[-lookahead:]))
        slot = rng.choice(free if fetch else sorted(held))
        latest.append(slot)
        if fetch:
            tiles = rng.randint(1, 3)
            held[slot] = [
                [rng.randrange(-128, 128) for _ in range(2)] for _ in range(tiles * 2 * d_tiles)
            ]
            given["fills"].append({"fill": {"slot": slot, "tiles": tiles}, "visit": number})
            given["rows"] += held[slot]
        given["visits"].append({"slot": slot, "fetch": fetch})
        rows = held[slot]
        for tile in range(rng.randint(1, len(rows) // (2 * d_tiles))):
            to = rng.randrange(1, 8)
            given["tiles"].append({"to": to, "ends": 0})
            for k in range(2 * d_tiles):
                row = rows[tile * 2 * d_tiles + k]
                last = int(k % d_tiles == d_tiles - 1)
                out.append({"to": to, "item": {"row": row, "last": last}})
        given["tiles"].append({"to": 0, "ends": 1})
    return given, out


def run(given, *, d_tiles, parts=PARTS, lookahead=LOOKAHEAD, bank=1 << 15, **options):
    dut = Granted(parts=parts, lookahead=lookahead, bank=bank)
    served = []

    async def constants(ctx):
        ctx.set(dut.d_tiles, d_tiles)
        cycle = 0
        async for _, _, is_served in ctx.tick().sample(dut.served):
            if is_served:
                served.append(cycle)
            cycle += 1

    inputs = {
        name: [to_bits(getattr(dut, name).payload.shape(), x) for x in items]
        for name, items in given.items()
    }
    log = simulate(
        dut, inputs=inputs, outputs=["o"], cycles=20_000, idle=200, beside=[constants], **options
    )
    return [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items], log, served


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("d_tiles", "bank"), [(1, 1 << 15), (2, 32), (3, 1 << 15), (3, 64)])
def test_rows_of_fills_and_of_slots(seed, d_tiles, bank):
    """Of one bank in each part, of several, and of one or two (a slot is 32 rows)."""
    rng = random.Random(seed)
    given, out = script(rng, 60, d_tiles=d_tiles, slots=7)
    names = (*given, "o")
    pace = {name: 1 if seed == 0 else rng.choice([0.2, 0.5, 1]) for name in names}
    got, log, served = run(given, d_tiles=d_tiles, bank=bank, pace=pace, seed=seed)
    assert got == out
    assert len(served) == len(given["visits"]) == len(log["visits"].items)


@pytest.mark.parametrize("bank", [1 << 15, 16])
def test_a_hit_costs_no_bubble(bank):
    """Rows of a visit leave one a cycle, tile behind tile; between visits is one cycle."""
    rows = [[k, -k] for k in range(12)]
    visits = [{"slot": 1, "fetch": k == 0} for k in range(4)]
    tiles = 4 * [*3 * [{"to": 1, "ends": 0}], {"to": 0, "ends": 1}]
    given = {
        "fills": [{"fill": {"slot": 1, "tiles": 3}, "visit": 0}],
        "rows": rows,
        "visits": visits,
        "tiles": tiles,
    }
    _, log, _ = run(given, d_tiles=2, bank=bank)
    cycles = log["o"].cycles
    for n in (1, 2, 3):
        own = cycles[12 * n : 12 * n + 12]
        assert own == list(range(own[0], own[0] + 12))
    assert [b - a for a, b in pairwise(cycles[11:37:12])] == [12 + 1, 12 + 1]


@pytest.mark.parametrize(("bank", "cycles"), [(1 << 15, 2), (32, 4)])
def test_latency(bank, cycles):
    given = {
        "fills": [{"fill": {"slot": 0, "tiles": 1}, "visit": 0}],
        "rows": [[1, 2], [3, 4]],
        "visits": [{"slot": 0, "fetch": 1}],
        "tiles": [{"to": 1, "ends": 0}, {"to": 0, "ends": 1}],
    }
    _, log, _ = run(given, d_tiles=1, bank=bank, pace={"tiles": lambda cycle: cycle >= 50})
    assert log["o"].cycles[0] == log["tiles"].valid_cycles[0] + cycles


def test_a_tile_leaves_before_its_block_is_complete():
    rows = [[k, k] for k in range(12)]
    given = {
        "fills": [{"fill": {"slot": 0, "tiles": 3}, "visit": 0}],
        "rows": rows,
        "visits": [{"slot": 0, "fetch": 1}],
        "tiles": [*3 * [{"to": 7, "ends": 0}], {"to": 0, "ends": 1}],
    }
    got, log, _ = run(given, d_tiles=2, pace={"rows": lambda cycle: cycle % 5 == 0})
    assert len(got) == 12
    assert log["o"].cycles[0] < log["rows"].cycles[-1]


def test_fills_far_ahead_of_their_visits():
    """More of them than are counted wait, and none is lost."""
    n = 40
    given = {
        "fills": [{"fill": {"slot": k, "tiles": 1}, "visit": k} for k in range(n)],
        "rows": [[k, row] for k in range(n) for row in range(2)],
        "visits": [{"slot": k, "fetch": 1} for k in range(n)],
        "tiles": n * [{"to": 1, "ends": 0}, {"to": 0, "ends": 1}],
    }
    pace = {"tiles": lambda cycle: cycle > 150}
    got, log, _ = run(given, d_tiles=1, parts=("40",), lookahead=n, pace=pace)
    assert [one["item"]["row"] for one in got] == given["rows"]
    assert log["rows"].cycles[31] < 150 < log["rows"].cycles[32]


def test_errors():
    with pytest.raises(ValueError, match=r"^Slots must be a positive integer, not 0$"):
        RowStore(parts=("0",), **SHAPE)
    message = r"^Memory must be one of 'auto', 'block', 'ultra', not 'fast'$"
    with pytest.raises(ValueError, match=message):
        RowStore(parts=("1+fast",), **SHAPE)
    with pytest.raises(ValueError, match=r"^A part must be slots, or slots\+memory, not 'ultra'$"):
        RowStore(parts=("ultra",), **SHAPE)


def test_emits():
    emit(RowStore(parts=PARTS, **SHAPE), verilog=True)
