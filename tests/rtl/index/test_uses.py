import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.index.lists import SelectionLists
from qkloom.rtl.index.sweep import triangle
from qkloom.rtl.index.uses import UseTable
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.mask import draw_head, mask_of
from qkloom.tb.index.uses import uses_words
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

PATTERNS = {
    "free": [FREE] * 3,
    "random": [Stall(0.5, seed=1), Stall(0.3, seed=2), Stall(0.4, seed=3)],
    "bursts": [Stall(0.5, 9, 1), Stall(0.5, 7, 2), Stall(0.5, 5, 3)],
    "slow sink": [FREE, FREE, Stall(0.9, seed=3)],
}
KINDS = [
    {"blocks": 1, "heads": 1, "window": 1},
    {"blocks": 5, "heads": 3, "window": 1},
    {"blocks": 7, "heads": 2, "window": 3},
    {"blocks": 8, "heads": 1, "window": 2},
    {"blocks": 9, "heads": 1, "window": 20},
    {"blocks": 6, "heads": 4, "window": 6},
]


def draw_group(rng, heads, n):
    return np.stack([mask_of(draw_head(rng, n)) for _ in range(heads)])


def bench_of(unit, groups, stalls=PATTERNS["free"], **options):
    inputs, outputs = uses_words(unit, groups)
    stalls = dict(zip([*inputs, *outputs], stalls, strict=True))
    p = unit.parameters
    steps = 2 * triangle(blocks=p["blocks"], window=p["window"]) + 4 * p["blocks"] + 20
    return Testbench(
        {name: Stimulus(words, stalls[name]) for name, words in inputs.items()},
        {name: Expectation(words, stalls[name]) for name, words in outputs.items()},
        max_cycles=1000 + 12 * len(inputs["i"]) + 12 * len(outputs["o"]) + steps * len(groups),
        **options,
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
class TestSmall:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_random(self, kind, pattern):
        unit = UseTable(**kind)
        rng = np.random.default_rng(kind["blocks"])
        sizes = [*range(1, kind["blocks"] + 1), kind["blocks"], 1]
        groups = [draw_group(rng, int(rng.integers(1, kind["heads"] + 1)), n) for n in sizes]
        check(emit(unit), bench_of(unit, groups, PATTERNS[pattern]), "pysim")

    def test_held(self, kind):
        unit = UseTable(**kind)
        rng = np.random.default_rng(1)
        check_held(emit(unit), bench_of(unit, [draw_group(rng, 1, kind["blocks"])] * 2), "pysim")

    def test_reset_at_any_time(self, kind):
        """What was counted before it is cleared."""
        unit = UseTable(**kind)
        n = kind["blocks"]
        groups = [np.tril(np.ones((kind["heads"], n, n), bool))]
        for aborted in range(3, 100, 17):
            check(emit(unit), bench_of(unit, groups, aborted_cycles=aborted), "pysim")


@st.composite
def groups(draw):
    n, heads = draw(st.integers(1, 7)), draw(st.integers(1, 2))
    rows = draw(st.lists(st.integers(0, (1 << n) - 1), min_size=heads * n, max_size=heads * n))
    bits = np.array([[row >> c & 1 for c in range(n)] for row in rows], bool)
    return np.tril(bits.reshape(heads, n, n))


@given(st.lists(groups(), min_size=2, max_size=5), st.sampled_from([1, 2, 3, 7]))
@settings(max_examples=20, derandomize=True, deadline=None)
def test_any_groups(given, window):
    unit = UseTable(blocks=7, heads=2, window=window)
    check(emit(unit), bench_of(unit, given, PATTERNS["random"]), "pysim")


@pytest.fixture(scope="module")
def large():
    unit = UseTable(blocks=100, heads=4, window=8)
    return unit, emit(unit)


class TestLarge:
    """On the compiled engine."""

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_random(self, large, require, pattern):
        require("compiler")
        rng = np.random.default_rng(len(pattern))
        sizes = (1, 7, 8, 9, 31, 32, 33, 64, 100)
        groups = [draw_group(rng, int(rng.integers(1, 5)), n) for n in sizes]
        check(large[1], bench_of(large[0], groups, PATTERNS[pattern]))

    def test_extremes(self, large, require):
        """All, nothing, only the sink, only the diagonal."""
        require("compiler")
        n = 100
        sink = np.arange(n)[None, :] * np.ones((n, 1)) == 0
        masks = [np.tril(np.ones((n, n), bool)), np.zeros((n, n), bool), sink, np.eye(n) == 1]
        groups = [np.stack([mask] * 4) for mask in masks]
        check(large[1], bench_of(large[0], groups))

    def test_cycles(self, large, require):
        """An item a cycle; a sweep takes its triangle, a little for windows, and what waits."""
        require("compiler")
        unit, design = large
        for n in (8, 50, 100):
            groups = [np.tril(np.ones((4, n, n), bool))]
            result = check(design, bench_of(unit, groups))
            sent, told = result.transfers["i"], result.transfers["o"]
            # Two wait in a register slice until all has been cleared.
            assert np.array_equal(sent[2:], sent[2] + np.arange(len(sent) - 2))
            steps = triangle(blocks=n, window=8)
            windows = -(-n // 8)
            assert told[-1] - sent[-1] == 2 * steps + 4 * windows + 7


def test_takes_the_lists_of_a_selection():
    lists = SelectionLists(blocks=5).lists.payload.shape()
    assert UseTable(blocks=5, heads=2, window=2).i.payload.shape() == lists


def test_triangle():
    assert triangle(blocks=1, window=1) == triangle(blocks=1, window=5) == 1
    assert triangle(blocks=5, window=2) == 2 + 4 + 5
    assert triangle(blocks=1024, window=8) == 66_048


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Blocks must be a positive integer, not 0"),
        ({"heads": "2"}, TypeError, "Heads must be a positive integer, not '2'"),
        ({"window": -1}, ValueError, "Window must be a positive integer, not -1"),
        ({"window": True}, TypeError, "Window must be a positive integer, not True"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        UseTable(**{"blocks": 4, "heads": 2, "window": 2, **changes})
