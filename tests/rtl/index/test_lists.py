import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.lists import SelectionLists
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.lists import list_words
from qkloom.tb.index.mask import draw_head, mask_inputs, mask_of, mask_outputs
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

PATTERNS = {
    "free": [FREE] * 4,
    "random": [Stall(0.5, seed=1), Stall(0.3, seed=2), Stall(0.4, seed=3), Stall(0.5, seed=4)],
    "slow masks": [FREE, FREE, Stall(0.9, seed=3), FREE],
    "slow lists": [FREE, FREE, FREE, Stall(0.8, 5, 4)],
}


def bench_of(unit, heads, stalls=PATTERNS["free"]):
    inputs = mask_inputs(unit, heads)
    lists = [list_words(unit.lists.payload.shape(), mask_of(head)) for head in heads]
    outputs = {"masks": mask_outputs(unit, heads), "lists": np.concatenate(lists)}
    stalls = dict(zip([*inputs, *outputs], stalls, strict=True))
    moved = sum(map(len, (*inputs.values(), *outputs.values())))
    return Testbench(
        {name: Stimulus(words, stalls[name]) for name, words in inputs.items()},
        {name: Expectation(words, stalls[name]) for name, words in outputs.items()},
        max_cycles=1000 + 12 * moved,
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_and_lists(require, pattern):
    require("compiler")
    unit = SelectionLists(blocks=100)
    rng = np.random.default_rng(len(pattern))
    heads = [draw_head(rng, n) for n in (1, 31, 32, 33, 64, 100, *rng.integers(1, 101, 10))]
    check(emit(unit), bench_of(unit, heads, PATTERNS[pattern]))


@pytest.mark.parametrize("blocks", [1, 3, 8, 11])
def test_small(blocks):
    unit = SelectionLists(blocks=blocks, word_width=4)
    rng = np.random.default_rng(blocks)
    heads = [draw_head(rng, n) for n in range(1, blocks + 1)]
    check(emit(unit), bench_of(unit, heads, PATTERNS["random"]), "pysim")
    check_held(emit(unit), bench_of(unit, heads), "pysim")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"blocks": -1}, ValueError, "Blocks must be a positive integer, not -1"),
        (
            {"blocks": 4, "word_width": None},
            TypeError,
            "Word width must be a positive integer, not None",
        ),
    ],
)
def test_errors(parameters, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SelectionLists(**parameters)
