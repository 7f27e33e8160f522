"""Windows, from a selection in memory to streams for the core and its cache, against the model."""

import random

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.call import row_words
from qkloom.rtl.sequencer.deal import Dealer
from qkloom.rtl.sequencer.scout import Scout
from qkloom.rtl.sequencer.selection import Selection
from qkloom.rtl.sequencer.visit import VisitTeller
from qkloom.rtl.sequencer.window import WindowWalker
from qkloom.rtl.stream import Fork, connect_stream
from qkloom.tb.cache.outlook import uses_of_windows
from qkloom.tb.cache.visits import visits_of, what_is_needed
from qkloom.tb.deal import windows
from qkloom.tb.simulate import from_bits, simulate, to_bits

from .test_walk import SHAPE, described, job_of, random_call, random_mask

BASE = 1 << 20
STREAMS = ("jobs", "rows", "places", "tiles", "told")
DATA_WIDTH = 64


class DealAndWalk(Component):
    """From calls to what a window walker says, and what a cache is told."""

    def __init__(self, *, shape):
        self._shape = dict(shape)
        self._bare = {k: v for k, v in self._shape.items() if k != "per_lane"}
        theirs = WindowWalker(**self._shape).signature.members
        selection = Selection(**self._shape, data_width=DATA_WIDTH).signature.members
        self._teller = dict(
            places=self._shape["n_lanes"] * self._shape["per_lane"],
            heads=SHAPE["heads"],
            tokens=SHAPE["tokens"],
            block=SHAPE["block"],
        )
        super().__init__(
            {
                "i": Dealer(**self._shape).signature.members["i"],
                "told": VisitTeller(**self._teller).signature.members["o"],
                **{name: theirs[name] for name in STREAMS if name != "told"},
                **{name: selection[name] for name in ("request", "word")},
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dealer = dealer = Dealer(**self._shape)
        m.submodules.selection = selection = Selection(**self._shape, data_width=DATA_WIDTH)
        m.submodules.walker = walker = WindowWalker(**self._shape)
        m.submodules.teller = teller = VisitTeller(**self._teller)
        m.submodules.needed = needed = Fork(shape=walker.needed.payload.shape(), n=2)
        dealt = Signal()
        m.d.comb += [
            dealer.windowed.eq(1),
            dealer.i.payload.eq(self.i.payload),
            dealer.i.valid.eq(self.i.valid & ~dealt),
            self.i.ready.eq(dealt & ~walker.busy & ~selection.busy),
            walker.call.eq(self.i.payload),
            selection.sparse.eq(1),
            selection.forget.eq(self.i.ready),
            selection.i.payload.entry.eq(dealer.o.payload),
            selection.i.payload.mantissa.eq(dealer.o.payload.head),
            selection.i.payload.shift.eq((dealer.o.payload.head * 21)[:6]),
            selection.i.valid.eq(dealer.o.valid),
            dealer.o.ready.eq(selection.i.ready),
            teller.n_kv.eq(self.i.payload.n_kv),
            teller.kv_blocks.eq(dealer.kv_blocks),
            teller.forget.eq(self.i.ready),
        ]
        with m.If(dealer.i.valid & dealer.i.ready):
            m.d.sync += dealt.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += dealt.eq(0)
        connect_stream(m, selection.o, walker.i)
        connect_stream(m, selection.needed, needed.i)
        connect_stream(m, needed.o[0], walker.needed)
        connect_stream(m, needed.o[1], teller.i)
        connect_stream(m, teller.o, wiring.flipped(self.told))
        connect_stream(m, selection.request, wiring.flipped(self.request))
        connect_stream(m, wiring.flipped(self.word), selection.word)
        for name in STREAMS:
            if name != "told":
                connect_stream(m, getattr(walker, name), wiring.flipped(getattr(self, name)))
        return m


def row_word(masks, call, number):
    """Return a word of a call's selection in memory."""
    words = row_words(tokens=SHAPE["tokens"], block=SHAPE["block"], data_width=DATA_WIDTH)
    row, column = divmod(number, words)
    rows = masks[call].reshape(-1, masks[call].shape[-1])
    chosen = rows[row][32 * column : 32 * column + 32]
    return sum(int(bit) << k for k, bit in enumerate(chosen))


def memory(asks, answers, answer, pace):
    """Return a process that answers items of a stream in order, some time later."""
    rng = random.Random(pace)

    async def process(ctx):
        waits = []
        asked = (asks.valid, asks.ready, Value.cast(asks.payload))
        async for _, _, valid, ready, item, offers, taken in ctx.tick().sample(
            *asked, answers.valid, answers.ready
        ):
            if valid and ready:
                waits.append(answer(item))
            if offers and taken:
                ctx.set(answers.valid, 0)
            if waits and (taken or not offers) and rng.random() < pace:
                ctx.set(Value.cast(answers.payload), waits.pop(0))
                ctx.set(answers.valid, 1)
            ctx.set(asks.ready, rng.random() < 0.9)

    return process


def expected(call, mask, *, n_lanes, per_lane, slots):
    """Return what each stream lists."""
    of, block, size = described(call, mask), SHAPE["block"], SHAPE["size"]
    q_blocks, kv_blocks = mask.shape[1:]
    found = {name: [] for name in STREAMS}
    given = windows(of, lanes=n_lanes, slots=slots, block_rows=block, per_lane=per_lane)
    for number, window in enumerate(given):
        head = window[0].head // call["group"]
        n_jobs = 0
        for first in range(0, max(entry.keys for entry in window), block):
            needing = [entry for entry in window if entry.needs(first, block)]
            lanes = [entry.lane for entry in needing]
            for place, entry in enumerate(needing):
                index = entry.head * q_blocks + entry.first // block
                at = {"to": entry.lane, "index": index, "tile": 0, "tokens": entry.rows}
                item = job_of(call, of, entry, first)
                item |= {"keeps": int(entry.lane in lanes[place + 1 :])}
                found["jobs"].append({"to": entry.lane, "item": item})
                found["rows"] += [at] * item["first"]
                found["places"] += [at] * item["last"]
                n_jobs += 1
            if not needing:
                continue
            for tile in range(first, first + block, size):
                to = {entry.lane for entry in needing if entry.keys > tile}
                if to:
                    found["tiles"].append({"to": sum(1 << lane for lane in to), "ends": 0})
            found["tiles"].append({"to": 0, "ends": 1})
            use = {"block": first // block, "jobs": len(needing), "ends": 0, "last": 0}
            found["told"].append(
                {
                    "use": use,
                    "index": head * kv_blocks + first // block,
                    "tokens": min(block, call["n_kv"] - first),
                }
            )
        is_last = number + 1 == len(given) or given[number + 1][0].head // call["group"] != head
        found["told"].append({"use": {"ends": 1, "last": int(is_last)}})
        assert n_jobs == sum(len(entry.blocks) for entry in window)
    return found


def long_call(rng):
    """Return a call of which windows are full, and query blocks may begin anywhere."""
    lengths = {"n_q": rng.randint(20, 40), "n_kv": rng.randint(50, 100)}
    return random_call(rng) | lengths | {"causal": 0, "q_start": 0}


def calls_and_masks(rng, n):
    pairs = []
    while len(pairs) < n:
        call = long_call(rng) if len(pairs) % 2 else random_call(rng)
        mask = random_mask(rng, call)
        if mask is not None:
            pairs.append((call, mask))
    return pairs


SIZES = [(1, 1, 2), (2, 1, 2), (3, 2, 4), (4, 2, 5), (2, 4, 4)]


@pytest.mark.parametrize("pace", [1.0, 0.4])
@pytest.mark.parametrize(("n_lanes", "per_lane", "slots"), SIZES)
def test_is_the_model(n_lanes, per_lane, slots, pace):
    rng = random.Random(n_lanes + 10 * per_lane)
    calls, masks = zip(*calls_and_masks(rng, 8), strict=True)
    size = {"n_lanes": n_lanes, "per_lane": per_lane, "slots": slots}
    dut = DealAndWalk(shape=(*(SHAPE | size).items(),))
    layout = dut.i.payload.shape()
    done = [0]

    async def count(ctx):
        async for _, _, valid, ready in ctx.tick().sample(dut.i.valid, dut.i.ready):
            done[0] += valid and ready

    log = simulate(
        dut,
        inputs={"i": [to_bits(layout, call) for call in calls]},
        outputs=STREAMS,
        cycles=300_000,
        idle=400,
        pace=dict.fromkeys(STREAMS, pace),
        seed=n_lanes,
        beside=[
            count,
            memory(dut.request, dut.word, lambda number: row_word(masks, done[0], number), 0.5),
        ],
    )
    wanted = [expected(call, mask, **size) for call, mask in zip(calls, masks, strict=True)]
    for name in STREAMS:
        shape = getattr(dut, name).payload.shape()
        got = [from_bits(shape, bits) for bits in log[name].items]
        listed = [item for call in wanted for item in call[name]]
        if name == "told":  # of an end nothing else counts
            ends = [item["use"]["ends"] for item in got]
            got = [
                {"use": {k: item["use"][k] for k in ("ends", "last")}} if end else item
                for item, end in zip(got, ends, strict=True)
            ]
        assert got == listed, name


@pytest.mark.parametrize("seed", range(6))
def test_the_scout_says_what_the_cache_model_visits(seed):
    rng = random.Random(seed)
    ((call, mask),) = calls_and_masks(rng, 1)
    dut = Scout(**SHAPE | {"n_lanes": 3, "per_lane": 2, "slots": 4}, data_width=DATA_WIDTH)
    words = row_words(tokens=SHAPE["tokens"], block=SHAPE["block"], data_width=DATA_WIDTH)

    def beat(command):
        first = (command % (1 << 64) - BASE) // 4
        return sum(row_word([mask], 0, first + k) << 32 * k for k in range(words))

    async def place(ctx):
        ctx.set(dut.base, BASE)

    log = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), call)]},
        outputs=["o"],
        cycles=50_000,
        idle=400,
        pace={"o": rng.choice([1.0, 0.3])},
        beside=[place, memory(dut.command, dut.beat, beat, 0.7)],
    )
    told = [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items]
    names = ("n_q", "n_kv", "q_start")
    needs = what_is_needed(
        mask,
        block=SHAPE["block"],
        causal=bool(call["causal"]),
        **{name: call[name] for name in names},
    )
    visits = visits_of(needs, kv_heads=call["kv_heads"], pairs_per_window=6)
    wanted = uses_of_windows(visits, mask.shape[-1])

    def bare(uses):
        """Leave out what does not count of an end."""
        return [{"last": use["last"]} if use["ends"] else use for use in uses]

    assert bare(told) == bare(wanted)


def test_emits():
    shape = SHAPE | {"n_lanes": 12, "per_lane": 2, "slots": 4}
    emit(WindowWalker(**shape, runtime_precision=True, gemm=True), verilog=True)
    emit(Scout(**shape, data_width=DATA_WIDTH, gemm=True, selects=True), verilog=True)
    emit(Selection(**shape, data_width=DATA_WIDTH), verilog=True)
