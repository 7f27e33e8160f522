import re
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.sweep import UseSweep
from qkloom.tb.index.lists import list_words
from qkloom.tb.index.mask import draw_head, mask_of
from qkloom.tb.index.sweep import Step, clearing, steps_of
from qkloom.tb.simulate import simulate, to_bits

KINDS = ("adds", "clears", "backs", "tells", "ends")
SAYS = {
    "adds": ("place",),
    "clears": ("place",),
    "ends": (),
    "backs": ("place", "block", "number", "is_last"),
    "tells": ("place", "block", "number", "is_last"),
}


def run(unit, groups, *, pace, room=1.0, seed=0):
    """Return the steps, and the cycle of each."""
    found = []
    rng = Random(seed)

    async def watch(ctx):
        cycle = 0
        ctx.set(unit.has_room, 1)
        async for _, _, step in ctx.tick().sample(unit.o):
            kinds = [kind for kind in KINDS if step[kind]]
            assert len(kinds) <= 1
            for kind in kinds:
                found.append((cycle, Step(kind, **{x: int(step[x]) for x in SAYS[kind]})))
            ctx.set(unit.has_room, rng.random() < room)
            cycle += 1

    call = unit.call.payload.shape()
    items = [list_words(unit.i.payload.shape(), rows) for masks in groups for rows in masks]
    sizes = [{"n": masks.shape[1], "heads": len(masks)} for masks in groups]
    simulate(
        unit,
        inputs={
            "call": [to_bits(call, size) for size in sizes],
            "i": [int(word) for words in items for word in words[:, 0]],
        },
        outputs=[],
        cycles=20 * (len(groups) + 1) * len(clearing(**sizes_of(unit))) + 60 * sum(map(len, items)),
        pace=dict.fromkeys(("call", "i"), pace),
        beside=[watch],
    )
    return [step for _, step in found], [cycle for cycle, _ in found]


def sizes_of(unit):
    return {name: unit.parameters[name] for name in ("blocks", "window")}


@pytest.mark.parametrize(("pace", "room"), [(1, 1), (0.4, 1), (1, 0.4), (0.6, 0.6)])
@pytest.mark.parametrize(("blocks", "window"), [(1, 1), (4, 1), (7, 3), (8, 4), (5, 9)])
def test_steps(blocks, window, pace, room):
    unit = UseSweep(blocks=blocks, heads=2, window=window)
    rng = np.random.default_rng(blocks)
    groups = [
        np.stack([mask_of(draw_head(rng, n)) for _ in range(heads)])
        for n, heads in ((blocks, 2), (1, 1), (max(blocks - 1, 1), 1), (blocks, 1))
    ]
    found, cycles = run(unit, groups, pace=pace, room=room)
    expected = [step for masks in groups for step in steps_of(masks, window)]
    assert found == clearing(**sizes_of(unit)) + expected
    # What is read in one cycle is written in the next.
    steps = list(zip(cycles, found, strict=True))
    for (before, a), (now, b) in pairwise(steps):
        if now == before + 1:
            assert a.place is None or a.place != b.place
            assert a.block is None or a.block != b.block


def test_conversion():
    assert emit(UseSweep(blocks=1024, heads=4, window=8)).ports


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Blocks must be a positive integer, not 0"),
        ({"heads": None}, TypeError, "Heads must be a positive integer, not None"),
        ({"window": 0}, ValueError, "Window must be a positive integer, not 0"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        UseSweep(**{"blocks": 4, "heads": 2, "window": 2, **changes})
