"""Stimuli of the sequencer: calls of both kinds, and what is asked for on their behalf."""

import random
from itertools import product

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring

from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.attention import AttentionWalker
from qkloom.rtl.sequencer.deal import Dealer
from qkloom.rtl.sequencer.either import EitherWalker
from qkloom.rtl.sequencer.locate import Locator
from qkloom.rtl.sequencer.lookup import Lookup
from qkloom.rtl.sequencer.needs import Needs
from qkloom.rtl.sequencer.product import ProductWalker
from qkloom.rtl.sequencer.queries import AwareQueries
from qkloom.rtl.sequencer.select import Selector
from qkloom.rtl.sequencer.selection import Selection
from qkloom.rtl.sequencer.sequencer import Sequencer
from qkloom.rtl.stream import Queue, connect_stream
from qkloom.tb.packing import pack
from qkloom.tb.simulate import to_bits
from tests.rtl.sequencer import (
    test_locate,
    test_needs,
    test_product,
    test_queries,
    test_select,
    test_sequencer,
    test_walk,
)

from .flat import Flat, content
from .unit import Unit, frozen, paced

__all__ = ["units"]

SHAPE = test_walk.SHAPE | {"heads": test_product.SHAPE["heads"]}
N_LANES, PRODUCT_TILES, KEY_HEADS = 3, 4, 2
PARTS = ("queue_", "register_slice_", "fork_", "delivery_")
WALKERS = ("dealer_", "walker_", "attention_", "product_", "either_")
SELECTIONS = ("selection_", "selector_", "needs_")


SET_AGAIN = "It is set before anybody looks at it: what it was in a reset does not matter."
UNUSED = "An entry of the table is wider than what it holds: nobody looks at that bit."
LOWER = "A call's lower bits are the same in all cycles, whichever they are taken in."
MULTIPLE = "Blocks have eight keys and tiles four: these bits of a first key are always 0."

EXPLAINED = {
    "dealer": {
        "last_block = $sdffe, EN[0] const1": (
            "Rows are counted anew in the next state: nobody looks at it in between."
        ),
        "$auto$simple.cc:211:make_patterns_logic$459, A[1] cnot1 with bit 0": LOWER,
        "rows_left[2:0] = $sdffe, EN[0] const1": LOWER,
        "$procmux$233_CMP0, A[3] const0": (
            "What is done when no call is there may be done a cycle before."
        ),
        "$auto$pmuxtree.cc:65:recursive_mux_generator$362, A[1] inv": SET_AGAIN,
    },
    "dealer of index calls": {
        "kv_left[2:0] = $sdffe, SRST[0] const0": SET_AGAIN,
        "kv_blocks$16 = $sdffe, D[0] cnot1 with bit 6": "A head has 13 blocks at most here.",
        "last_head = $sdffe, EN[0] const1": (
            "The KV head changes with its last query block, behind which it is compared anew."
        ),
        "$90, A[1] const1": "In an index call the count of KV heads is 1 or 2 here.",
        "$auto$simple.cc:211:make_patterns_logic$406, Y[0] const1": LOWER,
        "$auto$simple.cc:194:make_patterns_logic$520, A[0] const0": (
            "It is set in the next state, with the first head, which is 0."
        ),
    },
    "walker": {
        "$auto$simple.cc:211:make_patterns_logic$938, A[1] inv": LOWER,
        "tiles__payload[2] = $sdffe, SRST[0] const0": SET_AGAIN,
        "longest = $sdffe, SRST[0] const0": (
            "Rounds behind a reset might take longer; but they are those from before it here."
        ),
        "$procmux$298, A[0] const0": "Where it is asked for, the walker does not fill.",
    },
    "product walker": {
        "$164, B[6] const0": "Activations of a chunk have seven blocks at most here.",
        "round__w_en = $and, B[0] const1": (
            "The dealer says which lane is next before it deals to it: what is written then is "
            "written over."
        ),
        "$procmux$349, A[0] const1": "Lane 0 is in every round.",
        "$auto$simple.cc:194:make_patterns_logic$974, A[1] const0": (
            "Before a round no lane is served: to clear that again changes nothing."
        ),
    },
    "sequencer": {
        "$22, A[0] const1": "All is done only of a call that is there.",
        "table, beat__payload[73] cnot0 with bit 43": UNUSED,
        "table, beat__payload[61] cnot1 with bit 128": UNUSED,
        "factors, beat__payload[105] cnot0 with bit 4": UNUSED,
        "factors, beat__payload[56] cnot1 with bit 81": UNUSED,
    },
    "either walker": {
        "rows__payload.index = $mux, A[7] const0": (
            "Calls of attention have fewer than 128 blocks of queries here."
        ),
        "busy = $sdff, SRST[0] const0": (
            "For a cycle behind a reset, in which no call is dealt out yet."
        ),
        "places__payload.tile = $mux, S[0] const0": (
            "Blocks are asked for as a whole: the number of a tile is 0 in either."
        ),
    },
    "needs": {
        "$auto$simple.cc:211:make_patterns_logic$208, A[0] cnot1 with bit 2": (
            "A round's last mark is of a block that was there: blocks are as many with the mark "
            "before."
        ),
    },
    "selector": {
        "bit = $sdffe, D[2] cnot1 with bit 0": (
            "The count of bits comes to 31 after as many steps, on another way."
        ),
        "$auto$simple.cc:194:make_patterns_logic$6664, A[1] inv": (
            "While a word is waited for it is compared as well, before the first bit of it."
        ),
    },
    "aware queries": {
        "o__payload[10] = $sdffe, SRST[0] const0": SET_AGAIN,
    },
    "walker of selections": {
        "$auto$simple.cc:211:make_patterns_logic$7955, A[0] inv": MULTIPLE,
        "$auto$simple.cc:211:make_patterns_logic$7955, A[0] const1": MULTIPLE,
        "$auto$opt_share.cc:244:merge_operators$8096, B[0] const0": MULTIPLE,
        "$auto$simple.cc:211:make_patterns_logic$7970, A[1] const1": LOWER,
    },
}
"""Why mutants survive, by unit and place."""


def units():
    """Yield the units, one after the other."""
    tensor = test_locate.TENSOR | {"element_width": 32, "narrows": True}
    carried = tuple(("i", name) for name in ("narrow", "d_tiles", "pointers"))
    locator = Flat(part=Locator, parameters=frozen(**tensor), carried=carried)
    aligned = " && ".join(f"pointers[{64 * k + 4}:{64 * k}] == 0" for k in range(4))
    yield Unit(
        "locator",
        locator,
        requests(locator),
        claims={"locator_": "fsm_state <= 4"},
        promises={"locator_": aligned},
        explained={
            f"{locator.unit.module_name}: {place}": why
            for place, why in {
                "low = $sdffe, Q[2] const0": "Pointers are multiples of a beat's 32 bytes.",
                "$auto$pmuxtree.cc:65:recursive_mux_generator$94, B[0] cnot1 with bit 10": (
                    "A tensor has 832 tiles at most on a channel, which have ten bits."
                ),
                "$auto$simple.cc:194:make_patterns_logic$178, A[0] const0": (
                    "A request stays valid until it is done."
                ),
                "$auto$simple.cc:194:make_patterns_logic$142, Y[0] const1": (
                    "Behind the product nobody looks at its factors, and each request sets them."
                ),
            }.items()
        },
    )
    table = {"entries": 40, "entry_width": 32, "data_width": 128}
    carried = (("i", "base"), ("i", "forget"))
    lookup = Flat(part=Lookup, parameters=frozen(**table), carried=carried)
    name = lookup.unit.module_name
    yield Unit(
        "lookup",
        lookup,
        entries(lookup),
        claims={"lookup_": "fsm_state <= 5"},
        explained={
            f"{name}: $procmux$55_CMP0, A[0] const0": (
                "A request stays until it is done: adding it up again gives the same."
            ),
            f"{name}: $procmux$42_CMP0, A[0] const0": (
                "While an answer waits the read is over: to end it again changes nothing."
            ),
        },
    )

    dealer = Flat(part=Dealer, parameters=frozen(**SHAPE, n_lanes=N_LANES, gemm=True))
    yield Unit(
        "dealer",
        dealer,
        calls(dealer, ("o",), of_both),
        claims={"dealer_": "fsm_state <= 8"},
        explained=explained_of("dealer"),
    )
    dealer = Flat(
        part=Dealer, parameters=frozen(**SHAPE, n_lanes=N_LANES, gemm=True, key_heads=KEY_HEADS)
    )
    # Blocks have eight tokens: what is left of a call keeps the lower three bits of its lengths.
    kept = "i__valid && q_left[2:0] == i__payload[10:8] && kv_left[2:0] == i__payload[17:15]"
    yield Unit(
        "dealer of index calls",
        dealer,
        calls(dealer, ("o",), of_all),
        claims={"dealer_": f"fsm_state <= 8 && (fsm_state == 0 || {kept})"},
        explained=explained_of("dealer of index calls", dealer.unit.module_name),
    )
    usual = SHAPE["block"]
    for name, walker, prefix, make, block in (
        ("walker", AttentionWalker, "walker_", of_attention, usual),
        (
            "product walker",
            ProductWalker,
            "product_walker_",
            of_products,
            PRODUCT_TILES * SHAPE["size"],
        ),
        ("either walker", EitherWalker, "either_walker_", of_both, usual),
    ):
        dealt = test_walk.DealAndWalk(
            walker=walker,
            streams=test_walk.STREAMS,
            shape=tuple({**SHAPE, "n_lanes": N_LANES, "block": block}.items()),
            gemm=walker is not AttentionWalker,
        )
        others = tuple(x for x in WALKERS if not prefix.startswith(x))
        yield Unit(
            name,
            dealt,
            calls(dealt, test_walk.STREAMS, make),
            without=("deal_and_walk", *PARTS, *others),
            claims={} if walker is EitherWalker else {prefix: "fsm_state <= 12"},
            explained=explained_of(name),
        )
    rounds = test_needs.random_rounds(random.Random(1), 60, N_LANES)
    needs = Needs(n_lanes=N_LANES, tokens=test_needs.TOKENS, block=test_needs.BLOCK)
    marks = {"i": words(needs.i.payload.shape(), test_needs.marks_of(rounds))}
    n_needed = len(test_needs.needed_of(rounds))
    yield Unit(
        "needs",
        needs,
        paced(marks, {"o": n_needed}, max_cycles=60_000),
        without=PARTS,
        explained=explained_of("needs", needs.module_name),
    )
    selector = OnWords(part=Selector, parameters=frozen(**test_select.SHAPE))
    yield Unit(
        "selector",
        selector,
        rows(selector),
        claims={"selector_": "fsm_state <= 5 && word__ready == (fsm_state == 2)"},
        explained=explained_of("selector", selector.unit.module_name),
    )
    walked = SelectAndWalk(shape=tuple({**test_walk.SHAPE, "n_lanes": N_LANES}.items()))
    yield Unit(
        "walker of selections",
        walked,
        calls(walked, test_walk.STREAMS, of_attention),
        without=("select_and_walk", "dealer_", "attention_", *SELECTIONS, *PARTS),
        explained=explained_of(
            "walker of selections",
            f"walker_n_lanes{N_LANES}_slots2_heads{test_walk.SHAPE['heads']}_tokens100",
        ),
    )
    queries = Flat(part=AwareQueries, parameters=frozen(**test_queries.SHAPE))
    yield Unit(
        "aware queries",
        queries,
        verdicts(queries),
        claims={"aware_queries_": "fsm_state <= 2"},
        explained=explained_of("aware queries", queries.unit.module_name),
    )
    sequencer = OnTables(
        part=Sequencer,
        parameters=tuple(
            test_sequencer.sequencer(
                n_lanes=N_LANES, heads=SHAPE["heads"], gemm=True, sparse=True
            ).parameters.items()
        ),
    )
    yield Unit(
        "sequencer, without its parts",
        sequencer,
        tasks(sequencer),
        is_timed=False,
        without=(*PARTS, *WALKERS, *SELECTIONS, "locator_", "lookup_"),
        explained=explained_of("sequencer"),
    )


def explained_of(name, module=None):
    """Return why mutants of a unit survive, by their places in its module."""
    module = module or f"{name.replace(' ', '_')}_n_lanes{N_LANES}_slots2_heads12_tokens100"
    return {f"{module}: {place}": why for place, why in EXPLAINED.get(name, {}).items()}


class OnTables(Flat):
    """A unit that reads tables in memory, beat by beat; what they hold follows from the address."""

    def members_of(self, name, member):
        if name.endswith("_beat"):
            return {}
        return super().members_of(name, member)

    def more_levels(self):
        return {"answers": 1}

    def wire(self, m, name, inner, flow, levels):
        kind = name.rpartition("_")[0]
        if name.endswith("_command"):
            asked = Queue(shape=inner.payload.shape(), depth=4)
            m.submodules[f"{kind}_asked"] = asked
            self._asked = getattr(self, "_asked", {}) | {kind: asked}
            m.d.comb += [
                asked.i.valid.eq(inner.valid & inner.ready),
                asked.i.payload.eq(inner.payload),
            ]
            connect_stream(m, inner, wiring.flipped(getattr(self, name)))
        elif name.endswith("_beat"):
            asked = self._asked[kind]
            width = len(inner.payload.data)
            valid = asked.o.valid & levels["answers"]
            place = asked.o.payload.addr >> (width // 8).bit_length() - 1
            m.d.comb += [
                inner.valid.eq(valid),
                inner.payload.data.eq(content(place, width) ^ ~valid.replicate(width)),
                inner.payload.last.eq(valid),
                asked.o.ready.eq(levels["answers"] & inner.ready),
            ]
        else:
            super().wire(m, name, inner, flow, levels)


class OnWords(Flat):
    """A unit that asks for words by number; what they are follows from the number."""

    def members_of(self, name, member):
        return {} if name == "word" else super().members_of(name, member)

    def more_levels(self):
        return {"answers": 1}

    def wire(self, m, name, inner, flow, levels):
        if name == "request":
            m.submodules.asked = self._asked = asked = Queue(shape=inner.payload.shape(), depth=4)
            m.d.comb += [
                asked.i.valid.eq(inner.valid & inner.ready),
                asked.i.payload.eq(inner.payload),
            ]
            connect_stream(m, inner, wiring.flipped(self.request))
        elif name == "word":
            asked = self._asked
            m.d.comb += [
                inner.valid.eq(asked.o.valid & levels["answers"]),
                inner.payload.eq(word_of(asked.o.payload) ^ ~inner.valid.replicate(32)),
                asked.o.ready.eq(levels["answers"] & inner.ready),
            ]
        else:
            super().wire(m, name, inner, flow, levels)


def word_of(number):
    """Return a word of a selection: some bits of some rows."""
    # Of fewer than 16 bits not all of a word would follow.
    mixed = content(Cat(number, Const(0, 16)), 64)
    # A row is four words: of every fourth row all are 0, and of others some.
    return mixed[:32] & mixed[32:] & ~(number[2] & number[3] | mixed[5] & mixed[18]).replicate(32)


class SelectAndWalk(Component):
    """Dealer, selection and walker; every second call has a selection."""

    def __init__(self, *, shape):
        self._shape = dict(shape)
        theirs = AttentionWalker(**self._shape, sparse=True).signature.members
        dealer = Dealer(**self._shape).signature.members
        super().__init__({"i": dealer["i"], **{name: theirs[name] for name in test_walk.STREAMS}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dealer = dealer = Dealer(**self._shape)
        m.submodules.selection = selection = Selection(**self._shape, data_width=128)
        m.submodules.walker = walker = AttentionWalker(**self._shape, sparse=True)
        dealt = Signal()
        call = self.i.payload
        m.d.comb += [
            dealer.i.payload.eq(call),
            dealer.i.valid.eq(self.i.valid & ~dealt),
            self.i.ready.eq(dealt & ~walker.busy & ~selection.busy),
            walker.call.eq(call),
            walker.sparse.eq(call.planes[0]),
            selection.sparse.eq(call.planes[0]),
            selection.i.payload.entry.eq(dealer.o.payload),
            selection.i.payload.mantissa.eq(dealer.o.payload.head),
            selection.i.payload.shift.eq((dealer.o.payload.head * 21)[:6]),
            selection.i.valid.eq(dealer.o.valid),
            dealer.o.ready.eq(selection.i.ready),
            selection.request.ready.eq(selection.word.ready),
            selection.word.valid.eq(selection.request.valid),
            selection.word.payload.eq(word_of(selection.request.payload)),
        ]
        connect_stream(m, selection.o, walker.i)
        connect_stream(m, selection.needed, walker.needed)
        with m.If(dealer.i.valid & dealer.i.ready):
            m.d.sync += dealt.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += dealt.eq(0)
        for name in test_walk.STREAMS:
            connect_stream(m, getattr(walker, name), wiring.flipped(getattr(self, name)))
        return m


def rows(unit):
    """Query blocks, and words that come when they do."""
    rng = random.Random(5)
    items = [test_select.random_entry(rng) for _ in range(120)]

    def levels(rng):
        length, share = int(rng.choice([1, 5, 20])), float(rng.choice([0.1, 0.5, 0.8]))
        answers = np.repeat(rng.random(4000 // length) >= share, length).astype(int)
        answers[-1] = 1
        return pack(unit.levels.payload.shape(), answers=answers)

    sent = {"i": words(unit.i.payload.shape(), items)}
    counts = {"o": len(items), "request": None, "marks": None}
    return paced(sent, counts, max_cycles=80_000, varied={"levels": levels})[:6]


def words(shape, items):
    """Pack payloads one by one."""
    return np.array([to_bits(shape, item) for item in items], object)


def requests(unit):
    """Parts of a tensor in channels that are anywhere, some near a carry into the upper half."""
    rng = random.Random(1)
    t = unit.unit.parameters
    beat = t["data_width"] // 8

    def pointer():
        near = (rng.getrandbits(31) << 32) - (rng.randrange(1 << 10) * beat)
        return rng.choice([near, rng.getrandbits(58) * beat])

    items = [
        {
            "item": {
                "to": rng.randrange(8),
                "index": rng.randrange(t["blocks"]),
                "tile": rng.randrange(t["tiles"]),
                "tokens": rng.randint(1, t["tokens"]),
            },
            "narrow": rng.randrange(2),
            "d_tiles": rng.randint(1, t["head_dim"] // t["size"]),
            "pointers": [pointer() for _ in range(t["n_channels"])],
        }
        for _ in range(150)
    ]
    sent = {"i": words(unit.i.payload.shape(), items)}
    return paced(sent, {"o": len(items)}, max_cycles=9000)


def entries(unit):
    """Entries of one table after the other, neighbours often."""
    rng = random.Random(2)
    t = unit.unit.parameters
    items, n_reads, kept, base, number = [], 0, None, 0, 0
    for _ in range(200):
        if kept is None:
            base = (rng.getrandbits(31) << 32) - 16 * rng.randrange(12)
        number = rng.choice([number, (number + 1) % t["entries"], rng.randrange(t["entries"])])
        line = number // (t["data_width"] // t["entry_width"])
        n_reads += line != kept
        forget = int(rng.random() < 0.1)
        items.append({"item": number, "base": base, "forget": forget})
        kept = None if forget else line
    beats = [{"data": rng.getrandbits(t["data_width"]), "last": 1} for _ in range(n_reads)]
    sent = {
        "i": words(unit.i.payload.shape(), items),
        "beat": words(unit.beat.payload.shape(), beats),
    }
    return paced(sent, {"o": len(items), "command": n_reads}, max_cycles=50_000)


def of_attention(rng, n):
    """Return calls of attention."""
    return [test_walk.random_call(rng) for _ in range(n)]


def of_products(rng, n):
    """Return products of matrices."""
    return [test_product.random_call(rng, PRODUCT_TILES) for _ in range(n // 3)]


def of_both(rng, n):
    """Return calls of both kinds."""
    return [
        test_product.random_call(rng)
        if rng.randrange(2)
        else test_walk.random_call(rng) | {"gemm": 0, "chunks": rng.randrange(13)}
        for _ in range(n)
    ]


def of_all(rng, n):
    """Return calls of both kinds, and index calls between them."""
    found = []
    for call in of_both(rng, n // 2):
        n_q = rng.choice([call["n_q"], rng.randint(1, SHAPE["tokens"])])
        found.append(call | {"n_q": n_q, "selects": 0})
        found.append(test_walk.random_index_call(rng) | {"gemm": 0, "chunks": 1, "selects": 1})
    return found


def calls(unit, streams, make):
    """Calls of every shape."""
    benches = []
    for seed in range(3):
        sent = {"i": words(unit.i.payload.shape(), make(random.Random(seed), 100))}
        benches += paced(sent, dict.fromkeys(streams), max_cycles=400_000)[:3]
    return benches


def verdicts(unit):
    """Verdicts on the heads of a few calls, of few heads and of many, that are short or long."""
    benches = []
    # Of short heads queries are asked for before verdicts come.
    shapes = ((6, 100), (6, 38), (1, 8), (3, 7), (5, 64), (2, 9), (4, 1), (6, 1), (6, 4))
    most = test_queries.SHAPE["n_lanes"]
    for (heads, tokens), heads_ahead in product(shapes, range(most + 1)):
        rng = random.Random(tokens)
        given = [
            {"blocks": -(-tokens // test_queries.SHAPE["block"]), "is_aware": rng.randrange(2)}
            for _ in range(heads * (6 if tokens > 40 else 20))
        ]
        rounds = [n for _ in range(len(given) // heads) for n in test_queries.rounds_of(rng, heads)]
        ahead = [k < heads_ahead for n in rounds for k in range(n)]
        sent = {
            "i": words(unit.i.payload.shape(), given),
            "begins": pack(unit.begins.payload.shape(), ahead=ahead),
            "levels": pack(unit.levels.payload.shape(), heads=[heads], tokens=[tokens]),
        }
        n_read = sum(head["is_aware"] or early for head, early in zip(given, ahead, strict=True))
        n = n_read * -(-tokens // test_queries.SHAPE["size"])
        benches += paced(sent, {"o": n}, max_cycles=40_000, steady=["levels"])
    return benches


def tasks(unit):
    """Calls of both kinds, some with a selection, some with keys and values as a table says."""
    rng = random.Random(4)
    given = []
    for call in of_both(rng, 60):
        task = test_sequencer.random_task(rng, not call["gemm"] and rng.random() < 0.7, call)
        sparse = int(not call["gemm"] and rng.random() < 0.5)
        given.append(task | {"selection": rng.getrandbits(59) * 16, "sparse": sparse})

    def levels(rng):
        length, share = int(rng.choice([1, 5, 20])), float(rng.choice([0.1, 0.5, 0.8]))
        answers = np.repeat(rng.random(4000 // length) >= share, length).astype(int)
        answers[-1] = 1
        return pack(unit.levels.payload.shape(), answers=answers)

    sent = {"i": words(unit.i.payload.shape(), given)}
    tables = (f"{name}_command" for name in ("factor", "table", "selection"))
    counts = dict.fromkeys(("jobs", "q", "k", "v", "o", *tables))
    return paced(sent, counts, max_cycles=400_000, varied={"levels": levels})[:5]
