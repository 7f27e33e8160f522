"""Stimuli of the cache of KV blocks before the lanes, and of its parts."""

import random
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.rtl.cache.cache import BlockCache
from qkloom.rtl.cache.control import CacheControl
from qkloom.rtl.cache.outlook import Outlook
from qkloom.rtl.cache.store import RowStore
from qkloom.rtl.cache.tournament import Tournament
from qkloom.rtl.cache.visit import EVENTS
from qkloom.rtl.component import Component
from qkloom.rtl.stream import Fork, Queue, connect_stream
from qkloom.tb.cache.control import describe_visits
from qkloom.tb.cache.outlook import uses_of_windows
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of
from qkloom.tb.packing import pack
from qkloom.tb.simulate import to_bits
from qkloom.tb.stalls import Stall
from qkloom.tb.testbench import Expectation
from tests.rtl.cache import test_cache, test_control, test_store

from .flat import Flat, content
from .unit import UNSENT, Unit, frozen, paced

__all__ = ["units"]

BLOCKS, HEADS, WINDOWS, JOBS, USES = 4, 3, 70, 4, 90
CACHE_RULES = CacheRules("next-use", hot=1, cold=2, threshold=2, lookahead=3)
PARTS = ("2", "15+ultra", "2")
STORED = ("fills", "rows", "visits", "tiles")
RULES = CacheRules("next-use", hot=2, cold=3, threshold=3, lookahead=3)


def units():
    """Yield the units, one after the other."""
    sizes = {"blocks": BLOCKS, "heads": HEADS, "windows": WINDOWS, "jobs": JOBS, "uses": USES}
    outlook = Flat(part=Outlook, parameters=frozen(**sizes))
    why = {
        "is_known = $ne, A[5] cnot1 with bit 0": (
            "An odd number is not that of the last window, 70, whatever its other bits are."
        )
    }
    why = explain(outlook, why)
    yield Unit("outlook", outlook, uses(outlook), explained=why)
    control = ServedControl(parameters=frozen(**test_control.control(RULES).parameters))
    why = {
        "$procmux$238, A[5] inv": (
            "A block that is pinned twice would get the smallest key of what comes again from the "
            "third window on, which is never above that of the block that asks."
        ),
        "$procmux$248, S[0] const1": (
            "Of a block that is dead the last visit is granted: nobody looks it up any more."
        ),
        "n = $sdffe, Q[1] inv": "Another way to count to three: 2, 1, 0, 3.",
        "evicts = $sdffe, SRST[0] const0": "It is set before anybody looks at it.",
        "$auto$simple.cc:194:make_patterns_logic$812, B[0] inv": (
            "What the slot is before the tournaments have settled does not matter."
        ),
    }
    why = explain(control, why)
    others = ("tournament_", "queue_")
    yield Unit("cache control", control, visits(control), without=others, explained=why)
    ranked = RankedSlots(slots=5, key_width=4)
    why = {
        "$31, Y[0] const0": "The top of the tree is not read: what is cleared there, nobody sees.",
        **dict.fromkeys(
            (
                "$procmux$25, B[0] const0",
                "$procmux$35, A[0] const0",
                "$procmux$35, A[0] const1",
                "$procmux$48, A[2] const1",
            ),
            "Which one is best while the tree is cleared does not matter: nothing is settled.",
        ),
    }
    why = explain(ranked, why)
    yield Unit("tournament", ranked, keys(ranked), explained=why)
    shape = test_store.SHAPE | {"element_width": 2}
    store = FilledStore(part=RowStore, parameters=frozen(parts=PARTS, **shape))
    ahead = "A row has three chunks at most here: what is ahead of the next one is 2 or 3."
    why = {
        "r_chunk_ahead = $sdffe, Q[0] cnot0 with bit 1": ahead,
        "$172, A[1] const1": ahead,
        "served = $sdff, SRST[0] const0": UNSENT,
    }
    why = explain(store, why)
    yield Unit("row store", store, rows(store), without=("queue_",), explained=why)
    cache = test_cache.cache(CACHE_RULES, element_width=2, block=6, split=True)
    cached = CachedBlocks(part=BlockCache, parameters=frozen(**cache.parameters))
    why = {
        "$60, A[1] const0": "Behind tile 2, the last one there is, the number begins anew.",
    }
    why = explain(cached, why)
    others = (
        "cache_control_",
        "row_store_",
        "tournament_",
        "queue_",
        "register_slice_",
        "fork_",
        "delivery_",
    )
    yield Unit(
        "block cache, without its parts",
        cached,
        blocks(cached),
        is_timed=False,
        without=others,
        explained=why,
    )


def explain(component, why):
    """Return why mutants of the unit's own module survive, by their place."""
    return {f"{component.unit.module_name}: {place}": reason for place, reason in why.items()}


def words(shape, items):
    """Pack payloads one by one."""
    return np.array([to_bits(shape, item) for item in items], object)


def always(shape):
    """Return a stream that is sampled in every cycle."""
    return Out(stream.Signature(shape, always_ready=True, always_valid=True))


class ServedControl(Component):
    """The control, and who serves its visits.

    Parameters
    ----------
    parameters : tuple of (str, value)
        Those of the control.

    Members
    -------
    i : In(stream)
        ``visit``; with ``last`` none comes before all are retired.
    o : Out(stream)
        Decisions.
    serves : In(stream)
        The oldest visit that was not served is served with an item.
    events, idle : Out(stream)
        Those of the control, in every cycle.
    """

    def __init__(self, *, parameters):
        self.unit = unit = CacheControl(**dict(parameters))
        members = unit.signature.members
        visit = members["i"].signature.members["payload"].shape
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"visit": visit, "last": 1}))),
                "o": members["o"],
                "serves": In(stream.Signature(1)),
                "events": always(members["events"].shape),
                "idle": always(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        n_waiting = Signal(8)
        m.d.sync += n_waiting.eq(n_waiting + (unit.o.valid & unit.o.ready) - unit.served)
        m.d.comb += [
            self.serves.ready.eq(n_waiting != 0),
            unit.served.eq(self.serves.valid & self.serves.ready),
            unit.i.payload.eq(self.i.payload.visit),
            unit.i.valid.eq(self.i.valid & ~unit.ends),
            self.i.ready.eq(unit.i.ready & ~unit.ends),
            Value.cast(self.events.payload).eq(Value.cast(unit.events)),
            self.idle.payload.eq(unit.idle),
        ]
        with m.If(unit.idle):
            m.d.sync += unit.ends.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += unit.ends.eq(self.i.payload.last)
        connect_stream(m, unit.o, wiring.flipped(self.o))
        return m


class RankedSlots(Component):
    """A tournament, which says what is best while it is settled."""

    def __init__(self, *, slots, key_width):
        self.unit = unit = Tournament(slots=slots, key_width=key_width)
        members = unit.signature.members
        best = Out(stream.Signature(members["best"].shape, always_ready=True))
        super().__init__({"i": members["i"], "best": best})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        connect_stream(m, wiring.flipped(self.i), unit.i)
        m.d.comb += [self.best.payload.eq(unit.best), self.best.valid.eq(unit.settled)]
        return m


class FilledStore(Flat):
    """A store whose fills begin when as many visits have been served as they want."""

    def members_of(self, name, member):
        if name != "fills":
            return super().members_of(name, member)
        fill = member.signature.members["payload"].shape
        return {name: In(stream.Signature(data.StructLayout({"item": fill, "after": 16})))}

    def wire(self, m, name, inner, flow, levels):
        if name != "fills":
            super().wire(m, name, inner, flow, levels)
            return
        n_served, may = Signal(16, name="n_served"), Signal(name="may_fill")
        m.d.sync += n_served.eq(n_served + self.unit.served)
        m.d.comb += [
            may.eq(n_served >= self.fills.payload.after),
            inner.payload.eq(self.fills.payload["item"]),
            inner.valid.eq(self.fills.valid & may),
            self.fills.ready.eq(inner.ready & may),
        ]


class CachedBlocks(Flat):
    """A cache before a memory: what its rows are follows from what was asked for.

    Members
    -------
    visits : In(stream)
        ``item``; with ``last`` none comes before the cache is idle.
    became : Out(stream)
        Events, whenever there is one.
    levels : In(stream)
        Also ``answers``: whether memory may answer, a bit for keys and one for values.
    """

    def members_of(self, name, member):
        if name in ("i_key", "i_value"):
            return {}
        if name != "visits":
            return super().members_of(name, member)
        visit = member.signature.members["payload"].shape
        return {
            name: In(stream.Signature(data.StructLayout({"item": visit, "last": 1}))),
            "became": Out(stream.Signature(EVENTS, always_ready=True)),
        }

    def more_levels(self):
        return {"answers": 2}

    def level(self, m, name, wanted):
        if name != "ends":
            return wanted
        self._ends = Signal(name="no_more_visits")
        return self._ends

    def wire(self, m, name, inner, flow, levels):
        if name == "visits":
            self._visit(m, inner)
        elif name == "requests":
            self._request(m, inner)
        elif name in ("i_key", "i_value"):
            number = ("i_key", "i_value").index(name)
            self._answer(m, inner, self._asked[number], levels, number)
        else:
            super().wire(m, name, inner, flow, levels)

    def _visit(self, m, inner):
        outer, ends = self.visits, self._ends
        m.d.comb += [
            inner.payload.eq(outer.payload["item"]),
            inner.valid.eq(outer.valid & ~ends),
            outer.ready.eq(inner.ready & ~ends),
            self.became.payload.eq(self.unit.events),
            self.became.valid.eq(Value.cast(self.unit.events).any()),
        ]
        with m.If(self.unit.idle):
            m.d.sync += ends.eq(0)
        with m.If(outer.valid & outer.ready):
            m.d.sync += ends.eq(outer.payload.last)

    def _request(self, m, inner):
        shape = inner.payload.shape()
        fork = Fork(shape=shape, n=3)
        self._asked = [Queue(shape=shape, depth=16) for _ in range(2)]
        m.submodules.asked_fork = fork
        m.submodules.asked_keys, m.submodules.asked_values = self._asked
        connect_stream(m, inner, fork.i)
        connect_stream(m, fork.o[0], self._asked[0].i)
        connect_stream(m, fork.o[1], self._asked[1].i)
        connect_stream(m, fork.o[2], wiring.flipped(self.requests))

    def _answer(self, m, inner, asked, levels, number):
        rows = Signal(4, name=f"rows_{number}")  # of the tile, so far
        request, moves = asked.o.payload, Signal(name=f"moves_{number}")
        is_last = Signal(name=f"is_last_{number}")
        bits = Value.cast(inner.payload)
        place = Signal(16, name=f"place_{number}")
        m.d.comb += [
            place.eq(Cat(rows, request.tile, request.index, Const(number, 1))),
            inner.valid.eq(asked.o.valid & levels["answers"][number]),
            # What is not valid is the complement of what would be.
            bits.eq(content(place, len(bits)) ^ ~inner.valid.replicate(len(bits))),
            moves.eq(inner.valid & inner.ready),
            is_last.eq(rows == 2 * self.unit.d_tiles - 1),
            asked.o.ready.eq(moves & is_last),
        ]
        with m.If(moves):
            m.d.sync += rows.eq(Mux(is_last, 0, rows + 1))


def uses(flat):
    """Uses of calls with few windows and many, up to more than have bits, and visits like them."""
    rng = np.random.default_rng(3)
    rows = []
    kinds = ((5, 0.5, 3), (80, 0.05, 4), (75, 0.02, 2), (20, 0.9, 4), (3, 0.3, 1), (84, 0.95, 1))
    for n_rows, share, group in kinds * 2:
        kv_heads = int(rng.integers(1, HEADS + 1))
        needs = rng.random((kv_heads * group, n_rows, BLOCKS)) < share
        needs[::group, 0, 0] = True
        # A block that comes again only behind all others.
        if share < 0.1:
            needs[:, 1:-1, -1] = False
            needs[:, [0, -1], -1] = True
        rows += uses_of_windows(visits_of(needs, kv_heads=kv_heads, pairs_per_window=group), BLOCKS)
    benches = [*told(flat, rows, rows)[:6], *told(flat, rows, rows, most=8)[:2]]
    # A visit that is not as its use, of heads that are even and odd.
    ends = [k for k, row in enumerate(rows) if row["last"]][:7]
    short = rows[: ends[-1] + 1]
    for first, last in pairwise([-1, *ends]):
        for more in (-1, 1, -2, 2):
            fit = (k for k in range(first + 1, last) if 0 < short[k]["jobs"] + more <= JOBS)
            if (place := next(fit, None)) is not None:
                changed = [dict(row) for row in short]
                changed[place]["jobs"] += more
                benches.append(told(flat, short, changed)[0])
    # Resets wherever it is.
    return [*benches, *(replace(benches[0], aborted_cycles=n) for n in range(7, 2000, 191))]


def told(flat, counted, again, most=USES):
    """Return testbenches of uses and visits, with thresholds of any size."""
    shape = flat.i.payload.shape()
    sent = {
        name: pack(shape, **{field: [row[field] for row in rows] for field in shape.members})
        for name, rows in (("i", counted), ("visits", again))
    }

    def thresholds(rng):
        values = rng.integers(0, most + 1, 5000)
        return pack(flat.levels.payload.shape(), threshold=values)

    n = sum(not row["ends"] for row in again)
    return paced(sent, {"o": n}, max_cycles=200_000, varied={"levels": thresholds})


def visits(component):
    """Visits of calls, which are served at once or late."""
    rng = np.random.default_rng(2)
    calls = []
    for n_rows, share in ((5, 0.5), (19, 0.1), (19, 0.3), (19, 0.6), (1, 0.9), (16, 0.2)) * 2:
        kv_heads, group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        needs = rng.random((kv_heads * group, n_rows, test_control.BLOCKS)) < share
        needs[0, 0, 0] = True
        calls.append(visits_of(needs, kv_heads=kv_heads, pairs_per_window=group))
    sizes = {"blocks": test_control.BLOCKS, "windows": test_control.WINDOWS}
    rows = [
        row | {"last": int(k == len(call) - 1)}
        for call in calls
        for k, row in enumerate(describe_visits(call, RULES, **sizes))
    ]
    shape = component.i.payload.shape()
    visit = {name: [row[name] for row in rows] for name in shape["visit"].shape.members}
    sent = {
        "i": pack(shape, visit=visit, last=[row["last"] for row in rows]),
        "serves": np.zeros(len(rows), int),
    }
    benches = paced(sent, {"o": len(rows)}, max_cycles=300_000)
    return [*benches, *(replace(benches[0], aborted_cycles=n) for n in range(160, 1200, 83))]


def keys(component):
    """Keys of all slots, small and large and equal; all slots in many orders first."""
    shape, benches = component.i.payload.shape(), []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = 5 if seed else 400
        draws = [np.zeros(n, int), np.full(n, 15), rng.integers(0, 16, n), rng.integers(0, 16, n)]
        key = np.concatenate([rng.integers(0, 15, 5), np.choose(rng.integers(0, 4, n), draws)])
        slot = np.concatenate([rng.permutation(5), rng.integers(0, 5, n)])
        sent = {"i": pack(shape, slot=slot, key=key)}
        paces = paced(sent, {}, max_cycles=20_000)
        benches += paces[:1] if seed else paces
    return benches


def rows(component):
    """Blocks in all slots, asked for while few visits are granted, and more than are counted."""
    shapes = {name: getattr(component, name).payload.shape() for name in STORED}
    slots = sum(int(part.partition("+")[0]) for part in PARTS)
    benches = []
    for d_tiles, lookahead, share in product((1, 2, 3), (1, 3, slots - 1), (0.5, 0.95)):
        rng = random.Random(d_tiles + lookahead)
        options = {"d_tiles": d_tiles, "slots": slots, "lookahead": lookahead, "share": share}
        given, out = test_store.script(rng, 90, **options)
        items = dict(given)
        items["rows"] = [[value % 4 - 2 for value in row] for row in given["rows"]]
        items["fills"] = [
            {"item": one["fill"], "after": max(one["visit"] - lookahead + 1, 0)}
            for one in given["fills"]
        ]
        sent = {name: words(shape, items[name]) for name, shape in shapes.items()}
        sent["levels"] = pack(component.levels.payload.shape(), d_tiles=[d_tiles])
        paces = paced(sent, {"o": len(out)}, max_cycles=100_000, steady=["levels"])
        benches += paces[:3]
        # Tiles that are told late, when memory has brought all that there is room for.
        stalls = {"tiles": Stall(0.97, 64, lookahead)}
        late = {
            name: replace(of, stall=stalls.get(name, of.stall))
            for name, of in paces[0].inputs.items()
        }
        benches.append(replace(paces[0], inputs=late))
        # Lanes that take little, a while.
        stalled = {"o": Expectation(count=len(out), stall=Stall(0.8, 8, lookahead))}
        benches.append(replace(paces[0], outputs=stalled))
    # Resets wherever it is.
    return [*benches, *(replace(benches[0], aborted_cycles=n) for n in range(7, 490, 23))]


def blocks(flat):
    """Visits of calls, and tiles of them, while memory and lanes are fast and slow."""
    sent = {"visits": [], "tiles": []}
    shape = flat.visits.payload.shape()
    n_rows = {1: 0, 2: 0}
    n_blocks = test_cache.SHAPE["blocks"]
    sizes = {"blocks": n_blocks, "windows": test_cache.SHAPE["windows"]}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        needs = rng.random((4, (20, 5)[seed % 2], n_blocks)) < rng.choice([0.2, 0.5])
        needs[::2, 0, 0] = True
        tokens_of_last = ((1, 5), (4, 3))[seed // 2 % 2]
        called = visits_of(needs, kv_heads=2, pairs_per_window=2)
        told = [*describe_visits(called, CACHE_RULES, **sizes)]
        for number, (visit, block) in enumerate(zip(told, called.block.tolist(), strict=True)):
            is_last = block % n_blocks == n_blocks - 1
            tokens = tokens_of_last[block // n_blocks] if is_last else 6
            tiles = rng.integers(1, 8, rng.integers(1, -(-tokens // 2), endpoint=True)).tolist()
            item = {"visit": visit, "index": block, "tokens": tokens}
            sent["visits"].append({"item": item, "last": int(number == len(told) - 1)})
            sent["tiles"] += [*({"to": to, "ends": 0} for to in tiles), {"to": 0, "ends": 1}]
            for d_tiles in n_rows:
                n_rows[d_tiles] += len(tiles) * 2 * d_tiles
    packed = {
        "visits": words(shape, sent["visits"]),
        "tiles": words(flat.tiles.payload.shape(), sent["tiles"]),
    }
    benches = []
    for d_tiles, n in n_rows.items():

        def levels(rng, d_tiles=d_tiles):
            share = rng.choice([0.1, 0.5, 1], (2, 1))
            may = (rng.random((2, 4000)) < share).astype(int)
            may[:, -1] = 1
            answers = may[0] + 2 * may[1]
            of_call = {"d_tiles": np.full(4000, d_tiles), "ends": np.zeros(4000, int)}
            return pack(flat.levels.payload.shape(), **of_call, answers=answers)

        counts = {"o_key": n, "o_value": n, "requests": None}
        benches += paced(packed, counts, max_cycles=200_000, varied={"levels": levels})
    return benches
