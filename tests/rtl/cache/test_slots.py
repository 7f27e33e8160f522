import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.cache.slots import SlotTable
from qkloom.rtl.index.forecast import Forecast
from qkloom.tb.cache.slots import SlotModel, Step, draw_steps, slot_words
from qkloom.tb.engines import check, check_held, run
from qkloom.tb.packing import unpack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

NAMES = ("step", "wanted", "result", "places", "load", "evict")
PATTERNS = {
    "free": {},
    "random": {name: Stall(0.4, seed=k) for k, name in enumerate(NAMES)},
    "bursts": {name: Stall(0.5, 7, k) for k, name in enumerate(NAMES)},
    "slow lists": {"load": Stall(0.9, seed=1), "evict": Stall(0.8, seed=2)},
    "slow source": {"wanted": Stall(0.8, seed=1), "step": Stall(0.9, 9, 2)},
}
KINDS = [
    {"heads": 1, "blocks": 1, "k": 2},
    {"heads": 3, "blocks": 12, "k": 3},
    {"heads": 2, "blocks": 16, "k": 5},
    {"heads": 5, "blocks": 7, "k": 9},
]


def bench_of(unit, steps, stalls=PATTERNS["free"], **options):
    inputs, outputs = slot_words(unit, steps)
    p = unit.parameters
    moved = sum(map(len, (*inputs.values(), *outputs.values())))
    sweep = p["heads"] * (p["k"] - 1)
    return Testbench(
        {name: Stimulus(words, stalls.get(name, FREE)) for name, words in inputs.items()},
        {name: Expectation(words, stalls.get(name, FREE)) for name, words in outputs.items()},
        max_cycles=500 + sweep + 12 * moved + len(steps) * (p["k"] + 100),
        **options,
    )


@pytest.mark.parametrize("pattern", ["free", "random"])
def test_random(pattern):
    unit = SlotTable(**KINDS[-1])
    steps = draw_steps(unit, np.random.default_rng(len(pattern)), 9)
    check(emit(unit), bench_of(unit, steps, PATTERNS[pattern]), "pysim")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_sizes(require, kind):
    require("compiler")
    unit = SlotTable(**kind)
    design = emit(unit)
    for seed, stalls in enumerate(PATTERNS.values()):
        steps = draw_steps(unit, np.random.default_rng(seed), 60)
        check(design, bench_of(unit, steps, stalls))


def test_held():
    unit = SlotTable(heads=2, blocks=16, k=5)
    steps = [Step(0, 15, list(range(n, 16))) for n in (11, 12)]
    check_held(emit(unit), bench_of(unit, steps), "pysim")


def test_reset_at_any_time(require):
    """Nothing is in any slot, nothing is marked."""
    require("compiler")
    unit = SlotTable(**KINDS[-1])
    design = emit(unit)
    steps = draw_steps(unit, np.random.default_rng(3), 6)
    for aborted in range(3, 250, 7):
        check(design, bench_of(unit, steps, aborted_cycles=aborted))


STEPS = st.builds(
    Step,
    st.integers(0, 3),
    st.integers(0, 15),
    st.lists(st.integers(0, 15), max_size=9),
    clears=st.booleans(),
    last=st.booleans(),
)


ANY = SlotTable(heads=3, blocks=13, k=4)
ANY_DESIGN = emit(ANY)


@given(st.lists(STEPS, min_size=3, max_size=12))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_any_steps(require, steps):
    require("compiler")
    check(ANY_DESIGN, bench_of(ANY, steps, PATTERNS["random"]))


@given(st.lists(STEPS, min_size=1, max_size=30))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_promises(steps):
    """What the model says keeps the promises, whatever is asked."""
    model = SlotModel(heads=3, blocks=13, k=4)
    for step in steps:
        before = [list(slots) for slots in model.slots]
        result = model.step(step)
        after = model.slots[:]
        if result.refused:
            assert after == before
            continue
        assert [s for h, s in enumerate(after) if h != step.head] == [
            s for h, s in enumerate(before) if h != step.head
        ]
        slots = after[step.head]
        old = [None] * 3 if step.clears else before[step.head]
        held = [block for block in slots if block is not None]
        assert len(set(held)) == len(held)  # a block has one slot
        wanted = {b for b in step.wanted if b < step.tail}
        kept = [(b, s) for s, b in enumerate(old) if b is not None and slots[s] == b]
        gone = [(b, s) for s, b in enumerate(old) if b is not None and slots[s] != b]
        assert sorted(result.evict) == sorted(gone)
        given_slots = [s for _, s in result.load]
        assert len(set(given_slots)) == len(given_slots) and 3 not in given_slots
        assert not {s for _, s in kept} & set(given_slots)
        had = {b for b, _ in result.places} - {step.tail}
        assert not {b for b, _ in gone} & had  # no wanted block is evicted
        assert had <= wanted and had == {b for b in slots if b in had}
        clean = not (result.unknown or result.unordered or result.excess)
        assert clean == (
            list(step.wanted) == sorted(set(step.wanted))
            and max(step.wanted, default=0) <= step.tail
            and len(wanted) <= 3
        )
        if clean:
            assert had == wanted
        assert result.hits + result.misses == len(had)
        # The lowest free slots first; then those of blocks that nobody wants.
        free = [s for s, b in enumerate(old) if b is None]
        unwanted = [s for s, b in enumerate(old) if b is not None and b not in had]
        assert given_slots == (free + unwanted)[: len(given_slots)]


class TestExamples:
    def results(self, steps):
        model = SlotModel(heads=1, blocks=20, k=4)
        return [model.step(Step(0, 10, wanted)) for wanted in steps], model

    def test_hits_stay_and_misses_take_what_is_spare(self):
        results, model = self.results([[1, 4, 10], [2, 4], [2, 3, 4], [3, 5, 6]])
        assert results[0].load == [(1, 0), (4, 1)] and results[0].places[-1] == (10, 3)
        assert results[1].load == [(2, 2)] and results[1].evict == []  # the free one first
        assert (results[2].load, results[2].evict) == ([(3, 0)], [(1, 0)])
        assert (results[3].load, results[3].evict) == ([(5, 1), (6, 2)], [(4, 1), (2, 2)])
        assert model.slots == [[3, 5, 6]]

    def test_what_is_not_had_is_told(self):
        (many, double, late), _ = self.results([[1, 2, 3, 4, 10], [5, 5], [7, 11, 12]])
        assert many.excess and many.tail and [b for b, _ in many.places] == [1, 2, 3, 10]
        assert double.unordered and double.misses == 1
        assert late.unknown and [b for b, _ in late.places] == [7]


@pytest.fixture(scope="module")
def real():
    """The slots of a sequence of MiniCPM: 32 layers of 2 KV heads, 131,072 tokens."""
    unit = SlotTable(heads=64, blocks=2048, k=96)
    return unit, emit(unit)


class TestReal:
    """On the compiled engine."""

    @pytest.mark.parametrize("pattern", ["free", "random", "slow lists"])
    def test_random(self, real, require, pattern):
        require("compiler")
        unit, design = real
        steps = draw_steps(unit, np.random.default_rng(len(pattern)), 150)
        check(design, bench_of(unit, steps, PATTERNS[pattern]))

    def test_cycles(self, real, require):
        """As the description says, from step to step."""
        require("compiler")
        unit, design = real
        rng = np.random.default_rng(9)
        lists = [sorted(rng.choice(2000, n, replace=False).tolist()) for n in (95, 95, 1, 40, 0)]
        steps = [Step(5, 2000, [*some, 2000]) for some in lists] + [Step(5, 2000, [2001] * 9)]
        steps += [Step(5, 2000, [])] * 2
        result = check(design, bench_of(unit, steps))
        taken = np.diff(result.transfers["step"]).tolist()
        assert taken == [2 * n + 96 + 12 for n in (96, 96, 2, 41, 1)] + [96 + 9 + 9, 96 + 9]
        assert taken[0] == 300
        assert result.transfers["step"][0] == 64 * 95  # all have been freed

    def test_memory(self):
        unit = SlotTable(heads=64, blocks=2048, k=96)
        rtl = emit(unit).rtlil
        sizes = re.findall(r"memory width (\d+) size (\d+)", rtl)
        assert ("12", "6080") in sizes and 12 * 6080 == 72_960
        assert ("9", "2048") in sizes and 9 * 2048 == 18_432


def test_takes_what_the_forecast_unit_chooses():
    chosen = Forecast(k_max=96, blocks=2048).chosen.payload.shape()
    assert SlotTable(heads=64, blocks=2048, k=96).wanted.payload.shape() == chosen


def test_results_carry_the_head():
    unit = SlotTable(heads=3, blocks=4, k=2)
    result = run(emit(unit), bench_of(unit, [Step(2, 3, [1]), Step(1, 3, [])]), "pysim")
    told = unpack(unit.load.payload.shape(), result.outputs["load"])
    assert told["head"].tolist() == [2, 2, 1] and told["end"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"heads": 0}, ValueError, "Heads must be a positive integer, not 0"),
        ({"blocks": "2"}, TypeError, "Blocks must be a positive integer, not '2'"),
        ({"k": 1}, ValueError, "Slots must be at least 2, one of them for the tail, not 1"),
        ({"k": None}, TypeError, "Slots must be a positive integer, not None"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SlotTable(**{"heads": 2, "blocks": 8, "k": 4, **changes})
