"""Stimuli of what moves tensors between memory and lanes."""

import random
from functools import partial
from itertools import product

import numpy as np
from amaranth.lib import stream
from amaranth.lib.wiring import Out

from qkloom.rtl.mover.bank import Bank
from qkloom.rtl.mover.fetch import Fetcher
from qkloom.rtl.mover.frame import Framer
from qkloom.rtl.mover.lane_queues import LaneQueues
from qkloom.rtl.mover.output import OutputMover
from qkloom.rtl.mover.selection import RECORD_WORDS, SelectionMover
from qkloom.rtl.mover.widen import Widen
from qkloom.tb.packing import pack, unpack
from qkloom.tb.simulate import to_bits
from tests.rtl.mover import test_collect, test_fetch, test_frame, test_output, test_store

from .flat import Flat, OnMemory
from .of_axi import halting
from .unit import BEHIND, Unit, frozen, noise, paced

__all__ = ["units"]

D_TILES, TOKENS = 3, 6
ROW_BYTES = 64

UNASKED = "Nobody asks whether the half is full that is being filled."
BOTH = "What one of them says decides, whatever the other one says."
CARRY = (
    "A row's command does not move the address of records, nor a record's that of rows, and each "
    "head has both: the carry is the same, whichever of them finds it out."
)

PARTS = (
    *("queue_", "register_slice_", "wide_slice_", "burst_", "read_manager_", "write_manager_"),
    *("bank_", "widen_", "framer_", "collector_", "storer_", "lane_queues_"),
)
"""Modules that are units of their own, here or elsewhere."""


def units():
    """Yield the units, one after the other."""
    for fills in (False, True):
        parameters = test_frame.Framed(d_tiles=1, fills=fills)._inner | {"tokens": TOKENS}
        framer = Flat(part=Framer, parameters=frozen(**parameters))
        explained = {
            "$52, A[0] cnot1 with bit 2": BEHIND,
            "$61, A[1] const1": (
                "With no token left, a new fetch says whether its first one is the last."
            ),
        }
        if fills:
            order = "The count of tokens comes to 4 after as many steps, on another way."
            explained = {
                "token = $sdffe, D[2] cnot0 with bit 0": order,
                "token = $sdffe, Q[2] cnot1 with bit 0": order,
                "$auto$simple.cc:236:combine_resets$120, A[0] const0": (
                    "In the first cycle behind a reset no fetch is there, which clears it as well."
                ),
            }
        yield Unit(
            "framer, with zeros" if fills else "framer",
            framer,
            frames(framer),
            without=PARTS[:3],
            explained={
                f"{framer.unit.module_name}: {place}": why for place, why in explained.items()
            },
        )
    yield Unit("widening", widen := Widen(data_width=16, n=3), widened(widen), without=PARTS[:3])
    parameters = test_fetch.fetcher(data_width=32).parameters | {"ahead": 64}
    fetcher = OnMemory(part=Fetcher, parameters=tuple(parameters.items()))
    name = fetcher.unit.module_name
    yield Unit(
        "fetcher, without its parts",
        fetcher,
        fetches(fetcher),
        without=PARTS,
        explained={
            f"{name}: manager_0, bus__ar__payload[42] const1": (
                "It is always 1: beats have four bytes."
            ),
            f"{name}: idle = $reduce_and, A[1] cnot0 with bit 0": BOTH,
            f"{name}: $48, A[1] cnot1 with bit 0": BOTH,
        },
    )

    bank = Flat(part=Bank, parameters=frozen(width=12, depth=8))
    yield Unit("bank", bank, accesses(bank))
    collector = test_collect.collector()
    others = tuple(x for x in PARTS if x != "collector_")
    yield Unit(
        "collector",
        collector,
        outputs(collector),
        without=others,
        promises={"collector_": "!i__valid || i__payload[1:0] != 3"},
        explained={
            f"{collector.module_name}: {place}": why
            for place, why in {
                "$154, Y[0] const1": "The last beat has one unit at least: the first one counts.",
                "complete__i__payload = $sdff, D[6] const1": (
                    "A beat has two units: that three are told of changes nothing."
                ),
                "$procmux$118, B[0] const1": UNASKED,
                "$procmux$158, S[0] const1": UNASKED,
            }.items()
        },
    )
    stored = test_store.Stored(n_channels=2)
    others = tuple(x for x in (*PARTS, "stored_") if x != "storer_")
    yield Unit(
        "storer",
        stored,
        stores(stored),
        without=others,
        claims={"storer_": "fsm_state <= 5"},
        explained={
            "storer_n_lanes3_n_channels2_data_width128: $procmux$461, A[0] const1": (
                "Here a command is done before sixteen of them wait; a test of its own lets them "
                "wait."
            ),
        },
    )
    queues = Looked(part=LaneQueues, parameters=frozen(shape=8, n=3))
    yield Unit("lane queues", queues, looks(queues))
    mover = OnMemory(
        part=OutputMover,
        parameters=frozen(
            item=test_collect.ITEM,
            n_lanes=3,
            n_channels=2,
            element_width=32,
            data_width=128,
            address_width=40,
        ),
    )
    name = mover.unit.module_name
    yield Unit(
        "output mover, without its parts",
        mover,
        moved(mover),
        without=PARTS,
        explained={f"{name}: idle = $reduce_and, A[1] cnot0 with bit 0": BOTH},
    )
    mover = OnMemory(
        part=SelectionMover,
        parameters=frozen(row_bytes=ROW_BYTES, blocks=40, data_width=128, address_width=40),
    )
    yield Unit(
        "selection mover, without its parts",
        mover,
        selected(mover),
        without=PARTS,
        claims={"selection_mover_": "fsm_state <= 3"},
        explained={
            f"{mover.unit.module_name}: $auto$simple.cc:211:make_patterns_logic${place}": CARRY
            for place in (
                "618, A[0] const1",
                "633, A[2] const1",
                "633, A[2] cnot1 with bit 1",
            )
        },
    )


class Looked(Flat):
    """Queues of lanes, and somebody who looks at one after the other, and takes now and then."""

    def members_of(self, name, member):
        if name != "o":
            return super().members_of(name, member)
        return {name: Out(stream.Signature(8, always_ready=True))}

    def more_levels(self):
        return {"takes": 1}

    def wire(self, m, name, inner, flow, levels):
        if name != "o":
            super().wire(m, name, inner, flow, levels)
            return
        m.d.comb += [
            inner.ready.eq(levels["takes"]),
            self.o.valid.eq(inner.valid & inner.ready),
            self.o.payload.eq(inner.payload),
        ]


def words(shape, items):
    """Pack payloads one by one."""
    return np.array([to_bits(shape, item) for item in items], object)


def frames(unit):
    """Fetches of every length, of tokens of one to four rows."""
    parameters = unit.unit.parameters
    per_beat, fills = parameters["data_width"] // 32, parameters["fills"]
    benches = []
    for d_tiles in range(1, 5):
        rng = random.Random(d_tiles)
        given = test_frame.fetches(rng, 60, d_tiles, per_beat, fills, most=TOKENS)
        shapes = (unit.i.payload.shape(), unit.beat.payload.shape())
        sent = dict(zip(("i", "beat"), map(words, shapes, given), strict=False))
        sent["levels"] = pack(unit.levels.payload.shape(), d_tiles=[d_tiles])
        counts = {"o": len(given[2])}
        benches += paced(sent, counts, max_cycles=30_000, steady=["levels"])[:5]
    return benches


def widened(unit):
    """Beats of which every third one ends a wide one."""
    n = 150
    beats = noise(unit.i.payload.shape(), n, np.random.default_rng(2))
    return paced({"i": beats}, {"o": n // 3}, max_cycles=9000)


def fetches(unit):
    """Fetches of both channels, a halt, and each response, for the rest of a run.

    Behind a halt, beats no longer are those of the next fetch: a reset comes, and so it lasts.
    """
    benches = []
    for region in range(4):
        rng = random.Random(region)
        items = []
        for number in range(100):
            tokens = rng.randint(1, test_fetch.TOKENS)
            where = region if number % 50 > 20 else 0
            items.append(
                {
                    "to": rng.randrange(8),
                    "channel": rng.randrange(2),
                    "addr": where << 30 | rng.choice([0x1000 - 32, rng.randrange(1 << 26) * 16]),
                    "beats": tokens * D_TILES * 2,
                    "tokens": tokens,
                }
            )
        n = 1500
        sent = {"i": words(unit.i.payload.shape(), items)}
        counts = {"o": None, "bus_0_ar": None, "bus_1_ar": None}
        varied = {"levels": halting(unit, n, for_good=True, d_tiles=D_TILES)}
        benches += paced(sent, counts, max_cycles=2 * n, varied=varied)[: 12 if region == 2 else 4]
    return benches


def accesses(unit):
    """Reads and writes at any time, never of the same word at once."""

    def levels(rng):
        n = 400
        fields = unpack(unit.levels.payload.shape(), noise(unit.levels.payload.shape(), n, rng))
        same = fields["r_addr"] == fields["w_addr"]
        fields["r_addr"] = (fields["r_addr"] + same) % 8
        fields["taken"] = (rng.random(n) < rng.choice([0.2, 0.5, 1.0])).astype(int)
        return pack(unit.levels.payload.shape(), **fields)

    return paced({}, {}, max_cycles=1000, varied={"levels": levels})


def outputs(unit):
    """Blocks of all lengths, the items of all lanes mixed."""
    whole = test_collect.BEATS * test_collect.UNITS
    lengths = [1, 2, whole, whole + 1, 3 * whole, 5 * whole - 1, *range(7, 2, -1), 1, 1]
    shape = unit.i.payload.shape()
    benches = []
    for seed in range(5):
        items, _ = test_collect.blocks(random.Random(seed), [*lengths, *lengths[::-1]])
        sent = {"i": words(shape, [{"index": lane, "item": item} for lane, item in items])}
        counts = {"chunks": None, "data": None}
        lengths = lengths[2:] + lengths[:2]
        benches += paced(sent, counts, max_cycles=9000, lengths=(1, 3, 8 + 8 * seed))
    return benches


def stores(unit):
    """Outputs of all lanes, and places that come early or late."""
    rng = random.Random(5)
    beats, places = [], []
    for _ in range(8):  # no lane is far ahead of another one
        more_beats, more_places, _ = test_store.query_blocks(rng, 6, 2)
        beats += more_beats
        places += more_places
    sent = {
        "i": words(unit.i.payload.shape(), beats),
        "places": words(unit.places.payload.shape(), places),
    }
    counts = dict.fromkeys(f"{name}__{k}" for name in ("commands", "beats") for k in range(2))
    counts |= {"written": len(places)}
    return paced(sent, counts, max_cycles=40_000, steady=["written"])


def looks(unit):
    """Items of all lanes; each is looked at for a while, and taken from or not."""
    rng = np.random.default_rng(7)
    n = 100
    sent = pack(unit.i.payload.shape(), to=rng.integers(0, 3, n), item=rng.integers(0, 256, n))

    def levels(rng, number):
        rng = np.random.default_rng([number, rng.integers(1 << 32)])
        length = int(rng.choice([1, 3, 10, 30]))
        lane = np.repeat(rng.integers(0, 3, 3600 // length), length)
        takes = (rng.random(len(lane)) < rng.choice([0.2, 0.6, 1.0])).astype(int)
        # In the end all are looked at.
        lane[-1500:] = np.arange(1500) // 30 % 3
        takes[-1500:] = 1
        return pack(unit.levels.payload.shape(), lane=lane, takes=takes)

    benches = []
    for number in range(3):
        varied = {"levels": partial(levels, number=number)}
        benches += paced({"i": sent}, {}, max_cycles=5000, varied=varied)
    return benches


def moved(unit):
    """Query blocks of all lanes, a halt, and each response, for the rest of a run."""
    benches = []
    for region, channel in product(range(4), range(2)):
        bench = test_output.Bench(2, n=30)
        places = [{"to": place["to"], "item": dict(place["item"])} for place in bench.places]
        for place in places[6:]:
            if place["item"]["channel"] == channel:
                place["item"]["addr"] |= region << 38
        n = 2500
        sent = {
            "i": words(unit.i.payload.shape(), bench.items),
            "places": words(unit.places.payload.shape(), places),
        }
        counts = dict.fromkeys(f"bus_{k}_{name}" for name in ("aw", "w") for k in range(2))
        varied = {"levels": halting(unit, n, for_good=True)}
        benches += paced(sent, counts, max_cycles=2 * n, varied=varied)[: 8 if region == 2 else 3]
    return benches


def selected(unit):
    """Rows and records of a call, of all lengths, a halt, and each response for either."""
    rng = np.random.default_rng(9)
    benches = []
    shapes = [(1, 1), (40, 2), (2, 16), (3, 7), (5, 16), (9, 15), (17, 1), (1, 14)]
    for number, (rows, n_words) in enumerate(shapes):
        heads = 6 + 60 // rows
        is_last = np.tile(np.arange(n_words) == n_words - 1, heads * rows)
        masks = rng.integers(0, 1 << 32, len(is_last))
        record = unit.record.payload.shape()
        n = 2500
        # Both soon pass the end of the lower half of an address.
        selection, verdicts = (
            (region << 38) + (int(rng.integers(1, 64)) << 32) - step * int(rng.integers(1, 6))
            for region, step in ((number % 4, ROW_BYTES), (number // 2 % 4, 4 * RECORD_WORDS))
        )
        sent = {
            "masks": pack(unit.masks.payload.shape(), mask=masks, last=is_last),
            "record": noise(record, heads, rng),
        }
        levels = halting(
            unit,
            n,
            for_good=True,
            begins=np.arange(n) == 0,
            rows=rows,
            selection=selection,
            verdicts=verdicts,
        )
        counts = dict.fromkeys(("bus_aw", "bus_w"))
        varied = {"levels": levels}
        paces = paced(sent, counts, max_cycles=2 * n, lengths=(1, 8, 60), varied=varied)
        benches += paces[number % 4 :: 4]
    return benches
