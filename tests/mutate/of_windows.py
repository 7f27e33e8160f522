"""Stimuli of windows: who gets their query blocks, and what the core and its cache get of them."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.assign import Assigner
from qkloom.rtl.sequencer.visit import VisitTeller
from qkloom.rtl.sequencer.window import WindowWalker
from qkloom.rtl.stream import connect_stream
from qkloom.tb.packing import pack
from tests.rtl.sequencer import test_window

from .flat import Flat
from .of_sequencer import PARTS, SELECTIONS, calls, of_attention, word_of
from .unit import Unit, frozen, paced

__all__ = ["units"]

WINDOW = {"n_lanes": 3, "per_lane": 2, "slots": 3}
MOST = WINDOW["n_lanes"] * WINDOW["per_lane"]
TOLD = {"places": MOST, "heads": 2, "tokens": 63, "block": 4}
OTHERS = ("select_and_window", "deal_and_walk", "dealer_", "assigner_", "visit_teller_")
WALK = (
    "fsm_state <= 10",
    "(fsm_state == 9 || asks == 0)",
    "((fsm_state != 4 && fsm_state != 8) || keys == now[31:25] - first_key)",
    "seen_0 <= 8 && seen_1 <= 8 && seen_2 <= 8",
)
"""Of a walker: it asks in one state, looks at keys in two, and lanes see a block at most."""

AGAIN = "Keys that are looked at are those that would be set again, cycle by cycle."


def units():
    """Yield the units, one after the other."""
    assigner = ForgettingAssigner(
        part=Assigner, parameters=frozen(shape=8, **WINDOW, jobs=20, total=500)
    )
    why = {
        "$95, Y[1] const0": "A lane has room for two at most: for one less is 1 or 0.",
        "$procmux$132_CMP0, A[1] const0": "There is no place 6, which would be taken for place 4.",
        "items__w_en = $and, B[0] const1": (
            "What is written without an item, the next item is written over."
        ),
    }
    # Something is found while one looks for the longest item or the lane with fewest jobs.
    claims = {"assigner_": "(fsm_state >= 2 && fsm_state <= 4) || found == 0"}
    yield Unit(
        "assigner",
        assigner,
        windows(assigner),
        claims=claims,
        explained=explain(assigner.unit.module_name, why),
    )
    walker = WindowWalker(**test_window.SHAPE | WINDOW).module_name
    why = {
        "$auto$simple.cc:194:make_patterns_logic$8891, A[0] const1": AGAIN,
        "$auto$simple.cc:194:make_patterns_logic$8891, Y[0] const1": AGAIN,
        "seen_1[1:0] = $sdffe, D[0] cnot1 with bit 1": (
            "What counts is how many tiles hold the keys: of three and of two it is one."
        ),
        "$procmux$1044, A[1] cnot0 with bit 2": (
            "While a KV block is waited for the place is not looked at, and is set when it comes."
        ),
    }
    walked = SelectAndWindow(shape=frozen(**test_window.SHAPE | WINDOW))
    yield Unit(
        "window walker",
        walked,
        calls(walked, test_window.STREAMS, of_long_attention),
        without=(*OTHERS, *SELECTIONS, *PARTS),
        claims={"window_walker_": " && ".join(WALK)},
        explained=explain(walker, why),
    )
    teller = Flat(part=VisitTeller, parameters=frozen(**TOLD))
    why = {"left = $sub, B[0] const0": "Blocks have four keys: this bit of a first key is 0."}
    why = explain(teller.unit.module_name, why)
    yield Unit("visit teller", teller, needs(teller), without=PARTS, explained=why)


def explain(module, why):
    """Return why mutants of a module survive, by their place."""
    return {f"{module}: {place}": reason for place, reason in why.items()}


class ForgettingAssigner(Flat):
    """An assigner that forgets when it is told to, if nothing is there."""

    def level(self, m, name, wanted):
        return wanted & ~self.unit.busy if name == "forget" else wanted


class SelectAndWindow(Component):
    """From calls to what a window walker says, with words of a selection that are there at once."""

    def __init__(self, *, shape):
        self._shape = shape
        theirs = test_window.DealAndWalk(shape=shape).signature.members
        super().__init__({name: theirs[name] for name in ("i", *test_window.STREAMS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = test_window.DealAndWalk(shape=self._shape)
        m.d.comb += [
            walk.request.ready.eq(walk.word.ready),
            walk.word.valid.eq(walk.request.valid),
            walk.word.payload.eq(word_of(walk.request.payload)),
        ]
        connect_stream(m, wiring.flipped(self.i), walk.i)
        for name in test_window.STREAMS:
            connect_stream(m, getattr(walk, name), wiring.flipped(getattr(self, name)))
        return m


def of_long_attention(rng, n):
    """Return calls of attention, every third of which has long sequences."""
    calls = of_attention(rng, n // 2)
    return [test_window.long_call(rng) if k % 3 == 2 else call for k, call in enumerate(calls)]


def windows(flat):
    """Windows of few items and many, many of which are equal; some calls end between them."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, MOST + 1, 80)
    n = int(sizes.sum())
    ends = np.zeros(n, int)
    ends[np.cumsum(sizes) - 1] = 1
    jobs = np.choose(
        rng.integers(0, 3, n), [np.ones(n, int), np.full(n, 2), rng.integers(1, 21, n)]
    )
    shape = flat.i.payload.shape()
    sent = {"i": pack(shape, item=rng.integers(0, 256, n), jobs=jobs, ends=ends)}
    benches = []
    for share in (0.0, 0.05, 0.5):

        def forgets(rng, share=share):
            forget = rng.random(4000) < share
            forget[-1] = False
            return pack(flat.levels.payload.shape(), forget=forget)

        benches += paced(sent, {"o": n}, max_cycles=60_000, varied={"levels": forgets})
    return benches


def needs(flat):
    """KV blocks, and ends of windows and of heads, of short calls and long ones."""
    rng = np.random.default_rng(2)
    n, benches = 150, []
    for n_kv in (1, 4, 5, 22, 39, 62, TOLD["tokens"]):
        kv_blocks = -(-n_kv // TOLD["block"])
        block = rng.integers(0, kv_blocks, n)
        item = {
            "block": block,
            "first_key": TOLD["block"] * block,
            "lanes": rng.integers(0, 1 << MOST, n),
            "ends": rng.random(n) < 0.3,
            "last": rng.random(n) < 0.5,
        }

        def levels(rng, n_kv=n_kv, kv_blocks=kv_blocks):
            of_call = {"n_kv": np.full(400, n_kv), "kv_blocks": np.full(400, kv_blocks)}
            return pack(flat.levels.payload.shape(), **of_call, forget=rng.random(400) < 0.05)

        sent = {"i": pack(flat.i.payload.shape(), **item)}
        benches += paced(sent, {"o": n}, max_cycles=20_000, varied={"levels": levels})[:6]
    return benches
