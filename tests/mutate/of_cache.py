"""Stimuli of what keeps KV blocks."""

from dataclasses import replace

import numpy as np

from qkloom.rtl.cache.prefetch import LoadOrder
from qkloom.rtl.cache.slots import SlotTable
from qkloom.rtl.cache.tail import TailBlocks
from qkloom.rtl.cache.wanted import WantedCheck
from qkloom.tb.cache.slots import Step, draw_steps, slot_words
from qkloom.tb.cache.tail import draw_appends, tail_words
from qkloom.tb.index.forecast_exact import pack_lists
from qkloom.tb.packing import pack
from qkloom.tb.stalls import Stall

from .unit import Unit, paced

__all__ = ["units"]

SIZES = {"heads": 3, "blocks": 13, "k": 5}
N = 120


COUNTED = "What is counted before a step is taken is cleared with it."
EMPTY = "A level of 0 counts as 1, and one of 2 as 3: nothing is asked of an empty queue."


def units():
    """Yield the units, one after the other."""
    unit = WantedCheck(blocks=13, most=4)
    why = {
        "$procmux$100, B[2] cnot1 with bit 1": "Another way to count to four: 1, 6, 3.",
        "$70, B[0] const1": "It counts the tail too: above that, nothing is had anyway.",
    }
    yield Unit("wanted check", unit, lists(unit), explained=explain(unit, why))
    unit = SlotTable(**SIZES)
    why = {
        "base[3:2] = $dffe, EN[0] const1": "The head stays during a step, and so does its base.",
        "$auto$simple.cc:211:make_patterns_logic$630, A[1] const1": COUNTED,
        "$auto$simple.cc:194:make_patterns_logic$626, A[1] inv": COUNTED,
    }
    others = ("wanted_check", "register_slice", "queue_")
    yield Unit("slot table", unit, steps(unit), without=others, explained=explain(unit, why))
    unit = TailBlocks(**SIZES, block=2, in_flight=2)
    why = {
        "$auto$simple.cc:75:create_not$204, Y[0] const0": (
            "What the place is while an append waits, nobody sees."
        )
    }
    yield Unit("tail blocks", unit, appends(unit), explained=explain(unit, why))
    unit = LoadOrder(**SIZES, in_flight=3)
    why = explain(unit, {"$76, A[0] const1": EMPTY})
    why["queue_shape1_depth3: $27, A[0] const1"] = EMPTY
    yield Unit("load order", unit, layers(unit), explained=why)


def explain(unit, why):
    """Return why mutants of the unit's own module survive, by their place."""
    return {f"{unit.module_name}: {place}": reason for place, reason in why.items()}


def lists(unit):
    """Lists of any blocks, ascending or not."""
    rng = np.random.default_rng(4)
    rows = [rng.integers(0, 14, int(rng.integers(10))).tolist() for _ in range(2 * N)]
    rows = [sorted(row) if rng.random() < 0.7 else row for row in rows]
    items = pack_lists(rows)
    call = pack(
        unit.call.payload.shape(),
        tail=rng.integers(0, 13, len(rows)),
        dropped=rng.random(len(rows)) < 0.1,
    )
    sent = pack(unit.i.payload.shape(), **{n: [x[n] for x in items] for n in ("block", "end")})
    benches = paced({"call": call, "i": sent}, {"o": None}, max_cycles=30_000)
    return [replace(bench, quiet_cycles=200) for bench in benches]


def steps(unit):
    """Lists that make sense and others, for any heads."""
    inputs, outputs = slot_words(unit, draw_steps(unit, np.random.default_rng(5), N))
    counts = {name: len(words) for name, words in outputs.items()}
    benches = paced(inputs, counts, max_cycles=60_000)
    # Resets wherever a step is.
    return [*benches, *(replace(benches[0], aborted_cycles=n) for n in range(30, 430, 20))]


def appends(unit):
    """Tokens that fill blocks, of few heads, and steps of the same ones."""
    rng = np.random.default_rng(6)
    asked = draw_appends(unit, rng, 3 * N)
    beside = [
        Step(head, tail, (), clears=bool(clears), last=bool(last))
        for head, tail, clears, last in rng.integers(0, (3, 13, 2, 2), (2 * N, 4)).tolist()
    ]
    inputs, outputs = tail_words(unit, asked, beside)
    counts = {name: len(words) for name, words in outputs.items()}
    benches = paced(inputs, counts, max_cycles=60_000)
    # Memory that takes long, so that all are under way; steps in all cycles of an append.
    for seed in range(4):
        stalls = {"written": Stall(0.9 + 0.02 * seed, 1, seed), "step": Stall(0.5, 1, seed)}
        sent = {
            name: replace(of, stall=stalls.get(name, of.stall))
            for name, of in benches[0].inputs.items()
        }
        benches.append(replace(benches[0], inputs=sent))
    return [*benches, *(replace(benches[-1], aborted_cycles=n) for n in range(4, 40, 3))]


def layers(unit):
    """Loads of many layers, of which some fail."""
    rng = np.random.default_rng(7)
    n_layers, rows = 60, ([], [])
    for layer in range(n_layers):
        for last in (0, 1):
            head, n = int(rng.integers(3)), int(rng.integers(5))
            of = rng.integers(0, (13, 5), (n, 2)).tolist()
            rows[layer % 2].extend((head, block, slot, 0, 0) for block, slot in of)
            rows[layer % 2].append((head, 0, 0, 1, last))
    names = ("head", "block", "slot", "end", "last")
    shape = unit.i[0].payload.shape()
    inputs = {
        f"i__{k}": pack(shape, **dict(zip(names, np.array(of).T, strict=True)))
        for k, of in enumerate(rows)
    }
    n = sum(not end for of in rows for *_, end, _ in of)
    inputs["arrived"] = pack(unit.arrived.payload.shape(), failed=rng.random(n) < 0.1)
    return paced(inputs, {"o": n, "ready": n_layers}, max_cycles=60_000)
