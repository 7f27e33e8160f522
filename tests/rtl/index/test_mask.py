import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.index.mask import SelectionMask
from qkloom.rtl.index.selector import CoverageSelector
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.mask import Head, draw_head, mask_inputs, mask_outputs
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

PATTERNS = {
    "free": [FREE] * 3,
    "random": [Stall(0.5, seed=1), Stall(0.3, seed=2), Stall(0.4, seed=3)],
    "bursts": [Stall(0.5, 9, 1), Stall(0.5, 7, 2), Stall(0.5, 5, 3)],
    "slow source": [FREE, Stall(0.8, seed=2), FREE],
    "slow sink": [FREE, FREE, Stall(0.8, seed=3)],
}
SIZES = (1, 31, 32, 33, 64, 100)


def bench_of(unit, heads, stalls=PATTERNS["free"], **options):
    """Everything said of heads one after the other, and the words that come out."""
    inputs, output = mask_inputs(unit, heads), mask_outputs(unit, heads)
    call, i, o = stalls
    return Testbench(
        {"call": Stimulus(inputs["call"], call), "i": Stimulus(inputs["i"], i)},
        {"o": Expectation(output, o)},
        max_cycles=1000 + 12 * (len(inputs["i"]) + len(output) + 10 * len(heads)),
        **options,
    )


def special_heads(n):
    """All, nothing, only the sink, only a diagonal, only a pair in a corner."""
    none, everything = np.zeros(n, bool), np.ones(n, bool)
    first, last = np.arange(n) == 0, np.arange(n) == n - 1
    corner = np.outer(last, first)
    return [
        Head(none, none),
        Head(everything, none),
        Head(none, everything),
        Head(everything, everything, np.ones((n, n), bool)),
        Head(first, none),
        Head(last, none),
        Head(none, first),
        Head(none, last),
        Head(none, none, corner),
        Head(none, none, np.eye(n, dtype=bool)),
        Head(none, none, np.zeros((n, n), bool)),
        Head(first, first, np.triu(np.ones((n, n), bool))),  # all but one are above the diagonal
    ]


@pytest.fixture(scope="module")
def unit():
    unit = SelectionMask(blocks=100)
    return unit, emit(unit)


class TestBehaviour:
    """On the compiled engine."""

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_random(self, unit, require, pattern):
        require("compiler")
        rng = np.random.default_rng(len(pattern))
        sizes = [*SIZES, *rng.integers(1, 101, 20).tolist()]
        heads = [draw_head(rng, n) for n in sizes]
        check(unit[1], bench_of(unit[0], heads, PATTERNS[pattern]))

    @pytest.mark.parametrize("n", SIZES)
    def test_special(self, unit, require, n):
        require("compiler")
        check(unit[1], bench_of(unit[0], special_heads(n), PATTERNS["random"]))

    def test_cycles(self, unit, require):
        """A candidate a cycle in, a word a cycle out; with pairs only what is above costs words."""
        require("compiler")
        rng = np.random.default_rng(5)
        for n in (32, 100):
            head = draw_head(rng, n, pairs=False)
            result = check(unit[1], bench_of(unit[0], [head]))
            sent, words = result.transfers["i"], result.transfers["o"]
            assert np.array_equal(sent, sent[0] + np.arange(2 * n))
            assert np.array_equal(words, sent[-1] + 6 + np.arange(n * -(-n // 32)))
            head = draw_head(rng, n, pairs=True)
            result = check(unit[1], bench_of(unit[0], [head]))
            above = sum(-(-n // 32) - (r // 32 + 1) for r in range(n))
            taken = result.transfers["o"][-1] - result.transfers["i"][0]
            assert taken <= 2 * n + n * (n + 1) // 2 + above + 8

    def test_reset_at_any_time(self, unit, require):
        require("compiler")
        rng = np.random.default_rng(3)
        heads = [draw_head(rng, n, pairs=n > 40) for n in (33, 50)]
        for aborted in range(3, 600, 47):
            check(unit[1], bench_of(unit[0], heads, aborted_cycles=aborted))


@pytest.mark.parametrize("width", [4, 8, 32])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5, 9, 16])
class TestSmall:
    @pytest.mark.parametrize("pattern", ["free", "random"])
    def test_random(self, blocks, width, pattern):
        unit = SelectionMask(blocks=blocks, word_width=width)
        rng = np.random.default_rng(blocks)
        heads = [draw_head(rng, n) for n in range(1, blocks + 1)] + special_heads(blocks)
        check(emit(unit), bench_of(unit, heads, PATTERNS[pattern]), "pysim")

    def test_held(self, blocks, width):
        unit = SelectionMask(blocks=blocks, word_width=width)
        rng = np.random.default_rng(blocks)
        bench = bench_of(unit, [draw_head(rng, blocks), draw_head(rng, 1)])
        check_held(emit(unit), bench, "pysim")


@st.composite
def heads(draw, most=9):
    n = draw(st.integers(1, most))
    bits = draw(st.lists(st.booleans(), min_size=2 * n, max_size=2 * n))
    pairs = None
    if draw(st.booleans()):
        rows = draw(st.lists(st.integers(0, (1 << n) - 1), min_size=n, max_size=n))
        pairs = np.array([[row >> c & 1 for c in range(n)] for row in rows], bool)
    return Head(np.array(bits[:n]), np.array(bits[n:]), pairs)


@given(st.lists(heads(), min_size=4, max_size=8))
@settings(max_examples=20, derandomize=True, deadline=None)
def test_any_heads(given):
    unit = SelectionMask(blocks=9, word_width=4)
    check(emit(unit), bench_of(unit, given, PATTERNS["random"]), "pysim")


def test_takes_what_a_selector_says():
    assert SelectionMask(blocks=4).i.payload.shape() == (
        CoverageSelector(candidates=4).o.payload.shape()
    )


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Blocks must be a positive integer, not 0"),
        ({"blocks": "4"}, TypeError, "Blocks must be a positive integer, not '4'"),
        (
            {"blocks": 4, "word_width": 24},
            ValueError,
            "Word width must be a power of two of at least 4, not 24",
        ),
    ],
)
def test_errors(parameters, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SelectionMask(**parameters)
