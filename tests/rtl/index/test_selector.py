import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.index.selector import MOST_CANDIDATES, CoverageSelector
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.code import encode
from qkloom.tb.index.selector import Ask, draw_ask, selector_words
from qkloom.tb.packing import unpack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

SMALL = {"candidates": 12, "value_width": 7, "fraction": 2, "total_width": 11}
GAMMAS = (0, 1, 32768, 58982, 65535, 65536)
PATTERNS = {
    "free": [FREE] * 4,
    "random": [Stall(0.5, seed=1), Stall(0.3, seed=2), Stall(0.4, seed=3), Stall(0.5, seed=4)],
    "bursts": [Stall(0.5, 9, 1), Stall(0.5, 7, 2), Stall(0.5, 5, 3), Stall(0.7, 30, 4)],
    "slow source": [FREE, Stall(0.9, seed=2), FREE, FREE],
    "slow sink": [FREE, FREE, Stall(0.9, seed=3), Stall(0.9, seed=4)],
}


def bench_of(unit, asks, stalls=PATTERNS["free"], **options):
    """Everything asked for one after the other, and what comes out."""
    inputs, outputs = selector_words(unit, asks)
    stalls = dict(zip([*inputs, *outputs], stalls, strict=True))
    bins = unit.digits << unit.parameters["digit_bits"]
    cycles = len(inputs["i"]) + len(asks) * (bins + unit.overhead) + 1000
    return Testbench(
        {name: Stimulus(words, stalls[name]) for name, words in inputs.items()},
        {name: Expectation(words, stalls[name]) for name, words in outputs.items()},
        max_cycles=12 * cycles,
        **options,
    )


class TestConstructor:
    def test_attributes(self):
        unit = CoverageSelector(candidates=4096)
        assert (unit.digits, unit.passes, unit.overhead) == (2, 3, 58)
        assert len(unit.start.payload.least) == len(unit.result.payload.count) == 13
        assert dict(unit.i.payload.shape())["code"].width == 16
        tiny = CoverageSelector(**SMALL, digit_bits=2)
        assert (tiny.digits, tiny.passes) == (3, 4)  # of five bits

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            (
                {"candidates": 0},
                ValueError,
                "Number of candidates must be a positive integer, not 0",
            ),
            (
                {"candidates": MOST_CANDIDATES + 1},
                ValueError,
                "Number of candidates must be at most 16777216, not 16777217",
            ),
            ({"fraction": 32}, ValueError, "Fraction must be below the value width 32, not 32"),
            (
                {"total_width": 31},
                ValueError,
                "Total width must be at least the value width 32, not 31",
            ),
            (
                {"total_width": None},
                TypeError,
                "Total width must be a positive integer, not None",
            ),
            ({"digit_bits": 0}, ValueError, "Bits of a digit must be a positive integer, not 0"),
            ({"digit_bits": 17}, ValueError, "Bits of a digit must be at most 16, not 17"),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            CoverageSelector(**{"candidates": 4, **changes})


@pytest.mark.parametrize("digit_bits", [1, 2, 3, 5])
class TestSmall:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_random(self, digit_bits, pattern):
        unit = CoverageSelector(**SMALL, digit_bits=digit_bits)
        rng = np.random.default_rng(digit_bits)
        asks = [draw_ask(unit, rng, int(rng.integers(1, 13))) for _ in range(25)]
        check(emit(unit), bench_of(unit, asks, PATTERNS[pattern]), "pysim")

    def test_reset_at_any_time(self, digit_bits):
        unit = CoverageSelector(**SMALL, digit_bits=digit_bits)
        rng = np.random.default_rng(digit_bits)
        asks = [draw_ask(unit, rng, 9) for _ in range(2)]
        for aborted in range(7, 180, 13):
            check(emit(unit), bench_of(unit, asks, aborted_cycles=aborted), "pysim")

    def test_held(self, digit_bits):
        unit = CoverageSelector(**SMALL, digit_bits=digit_bits)
        rng = np.random.default_rng(digit_bits)
        check_held(emit(unit), bench_of(unit, [draw_ask(unit, rng, 5)] * 2), "pysim")

    def test_conversion(self, digit_bits):
        assert emit(CoverageSelector(**SMALL, digit_bits=digit_bits)).ports


@st.composite
def asks(draw):
    values = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 9, 20, 127]), min_size=1, max_size=8))
    always = draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    gamma = draw(st.one_of(st.sampled_from(GAMMAS), st.integers(0, 65536)))
    least, most = draw(st.integers(0, 10)), draw(st.integers(0, 10))
    return Ask(encode(values, fraction=2), always, gamma, least, most)


@given(st.lists(asks(), min_size=10, max_size=20))
@settings(max_examples=15, derandomize=True, deadline=None)
def test_any_asks(asks):
    unit = CoverageSelector(**SMALL, digit_bits=3)
    check(emit(unit), bench_of(unit, asks, PATTERNS["random"]), "pysim")


@pytest.fixture(scope="module")
def large():
    """The size of a chip, emitted once."""
    unit = CoverageSelector(candidates=4096)
    return unit, emit(unit)


class TestLarge:
    """On the compiled engine."""

    def check(self, large, asks, pattern="free"):
        unit, design = large
        bench = bench_of(unit, asks, PATTERNS[pattern])
        return check(design, bench), bench

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_random(self, large, require, pattern):
        require("compiler")
        rng = np.random.default_rng(len(pattern))
        sizes = [*range(1, 40), *rng.integers(1, 1000, 15).tolist(), 4095, 4096]
        self.check(large, [draw_ask(large[0], rng, n) for n in sizes], pattern)

    @pytest.mark.parametrize("pattern", ["free", "random"])
    def test_ties_and_extremes(self, large, require, pattern):
        require("compiler")
        n = 700
        kinds = [
            np.zeros(n, np.int64),
            np.full(n, 1),
            np.full(n, 5_000_001),
            np.r_[np.zeros(n - 1, np.int64), 1],
            np.r_[1 << 31, np.full(n - 1, 1 << 20)],
            np.tile([4096, 4097, 4098, 4099], n)[:n],  # equal after rounding
            np.arange(n) << 12,
            np.arange(n)[::-1] << 12,
        ]
        asks = []
        for number, values in enumerate(kinds):
            codes = encode(values)
            for gamma in (*GAMMAS, 16384):
                always = np.arange(n) == (number * 97 if gamma % 2 else -1)
                asks.append(Ask(codes, always, gamma, 0, 8191))
            asks += [
                Ask(codes, np.zeros(n, bool), 32768, 8191, 0),
                Ask(codes, np.zeros(n, bool), 65536, 3, 2),
                Ask(codes, np.arange(n) % 3 == 0, 65536, 0, 300),
                Ask(codes, np.ones(n, bool), 40000, 0, 1),
                Ask(codes, np.zeros(n, bool), 58982, 0, 0),
            ]
        self.check(large, asks, pattern)

    def test_one_candidate(self, large, require):
        require("compiler")
        asks = [
            Ask([code], [always], gamma, least, most)
            for code in (0, 1, 2047, 2048, 45_055)
            for always in (0, 1)
            for gamma in (0, 1, 65536)
            for least, most in ((0, 0), (0, 1), (1, 0), (5, 8191))
        ]
        self.check(large, asks)

    def test_cycles(self, large, require):
        """The promised number, whatever the masses are."""
        require("compiler")
        unit, _ = large
        rng = np.random.default_rng(7)
        asks = [
            draw_ask(unit, rng, n, values=values)
            for n in (1, 2, 77, 1000)
            for values in (None, np.full(n, 9), np.arange(n) * 1000)
        ]
        result, _ = self.check(large, asks)
        taken = result.transfers["result"] - result.transfers["start"] + 1
        n = np.array([len(ask.codes) for ask in asks])
        assert np.array_equal(taken, 3 * n + 2 * 256 + 58)
        assert result.transfers["start"][0] == 257
        # One a cycle within each pass, of the first selection of a thousand.
        (at,) = np.flatnonzero(n == 1000)[:1]
        first = 3 * n[:at].sum()
        moves = result.transfers["i"][first : first + 3000].reshape(3, 1000)
        assert (moves[:, -1] - moves[:, 2] == 997).all()  # two wait in front

    def test_taken_have_the_share(self, large, require):
        require("compiler")
        unit, _ = large
        values = np.random.default_rng(3).pareto(0.7, 2000)
        codes = encode((values / values.sum() * (1 << 31)).astype(np.int64))
        _, bench = self.check(large, [Ask(codes, np.zeros(2000, bool), 58982, 1, 8191)])
        words = bench.outputs["result"].values
        sums = unpack(unit.result.payload.shape(), words)
        assert 0.9 <= sums["mass"][0] / sums["total"][0] < 0.901
        assert 0 < sums["count"][0] < 2000
