import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.cache.tail import TailBlocks
from qkloom.tb.cache.slots import Step
from qkloom.tb.cache.tail import Append, TailModel, Token, draw_appends, tail_words
from qkloom.tb.engines import check, check_held
from qkloom.tb.simulate import from_bits, simulate, to_bits
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

NAMES = ("append", "place", "write_back", "written", "step", "o_step")
PATTERNS = {
    "free": {},
    "random": {name: Stall(0.4, seed=k) for k, name in enumerate(NAMES)},
    "slow memory": {"written": Stall(0.95, seed=1)},
    "slow mover": {"write_back": Stall(0.9, 3, 2), "place": Stall(0.5, seed=3)},
}
KINDS = [
    {"heads": 1, "blocks": 1, "k": 2, "block": 1, "in_flight": 1},
    {"heads": 3, "blocks": 5, "k": 4, "block": 2, "in_flight": 3},
    {"heads": 4, "blocks": 8, "k": 3, "block": 4, "in_flight": 2},
]


def steps_of(unit, rng, n):
    p = unit.parameters
    numbers = zip(rng.integers(0, p["heads"], n), rng.integers(0, p["blocks"], n), strict=True)
    return [Step(*pair, (), clears=rng.random() < 0.5, last=rng.random() < 0.5) for pair in numbers]


def bench_of(unit, appends, stalls=PATTERNS["free"], **options):
    steps = steps_of(unit, np.random.default_rng(1), len(appends))
    inputs, outputs = tail_words(unit, appends, steps)
    return Testbench(
        {name: Stimulus(words, stalls.get(name, FREE)) for name, words in inputs.items()},
        {name: Expectation(words, stalls.get(name, FREE)) for name, words in outputs.items()},
        max_cycles=500 + unit.parameters["heads"] + 100 * len(inputs["append"]),
        **options,
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
class TestSmall:
    @pytest.mark.parametrize("pattern", ["random", "slow memory"])
    def test_random(self, kind, pattern):
        unit = TailBlocks(**kind)
        appends = draw_appends(unit, np.random.default_rng(len(pattern)), 25)
        check(emit(unit), bench_of(unit, appends, PATTERNS[pattern]), "pysim")

    def test_reset_at_any_time(self, kind):
        unit = TailBlocks(**kind)
        appends = [Append(0)] * 5
        for aborted in (9, 26):
            check(emit(unit), bench_of(unit, appends, aborted_cycles=aborted), "pysim")


def test_held():
    unit = TailBlocks(**KINDS[2])
    check_held(emit(unit), bench_of(unit, [Append(n) for n in (0, 1) * 8]), "pysim")


def test_real(require):
    """Both KV heads of 32 layers, of a sequence that begins somewhere; on the compiled engine."""
    require("compiler")
    unit = TailBlocks(heads=64, blocks=2048, k=96)
    design = emit(unit)
    appends = [Append(head, 130_900 + 7 * (head % 9)) for head in range(64)]
    appends += [Append(head) for _ in range(150) for head in range(64)]
    for stalls in PATTERNS.values():
        check(design, bench_of(unit, appends, stalls))
    assert ("18", "64") in re.findall(r"memory width (\d+) size (\d+)", design.rtlil)


@given(
    st.lists(
        st.builds(Append, st.integers(0, 2), st.none() | st.integers(0, 9)), min_size=1, max_size=60
    )
)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_promises(appends):
    """Rows follow one another; a block is written back once, when its last row is there."""
    model = TailModel(heads=2, blocks=4, block=2)
    before = {}
    for append in appends:
        token = model.append(append)
        if token.refused:
            is_end = before.get(append.head, 0) == 8 and append.tokens is None
            assert append.head == 2 or (append.tokens or 0) >= 8 or is_end
            continue
        n = token.block * 2 + token.row
        assert n == (before.get(append.head, 0) if append.tokens is None else append.tokens)
        assert token.full == (append.tokens is None and n % 2 == 1)
        before[append.head] = n + (append.tokens is None)


def test_example():
    model = TailModel(heads=2, blocks=4, block=2)
    assert model.append(Append(1, 5)) == Token(1, 2, 1)
    assert model.append(Append(1)) == Token(1, 2, 1, full=True)
    assert model.append(Append(1)) == Token(1, 3, 0)
    assert model.append(Append(1)) == Token(1, 3, 1, full=True)
    assert model.append(Append(1)) == Token(1, refused=True)


class TestUnderWay:
    """Between a write-back and its arrival."""

    def run(self, appends, steps, pace=None, in_flight=2, written=8):
        unit = TailBlocks(heads=3, blocks=4, k=3, block=1, in_flight=in_flight)
        p = {name: getattr(unit, name).payload.shape() for name in NAMES}
        asked = [{"head": head, "begins": 0, "tokens": 0} for head in appends]
        inputs = {
            "append": [to_bits(p["append"], item) for item in asked],
            "written": [0] * written,
            "step": [
                to_bits(p["step"], {"head": head, "tail": 0, "clears": 0, "last": 0})
                for head in steps
            ],
        }
        outputs = ["place", "write_back", "o_step"]
        logs = simulate(unit, inputs=inputs, outputs=outputs, cycles=300, pace=pace or {})
        heads = [from_bits(p["o_step"], bits)["head"] for bits in logs["o_step"].items]
        assert heads == steps[: len(heads)]
        return logs

    def test_cycles(self):
        """An append every 5 cycles when each fills a block; 3 to sweep."""
        logs = self.run([0, 1, 2, 0, 1], [2, 2])
        assert np.diff(logs["append"].cycles).tolist() == [5] * 4
        assert logs["append"].cycles[0] == 3
        assert np.array(logs["place"].cycles).tolist() == [6 + 5 * n for n in range(5)]
        assert logs["o_step"].cycles == [1, 2]

    def test_the_same_head_waits(self):
        late = {"written": lambda cycle: cycle >= 100}
        logs = self.run([0, 0], [], late)
        assert logs["place"].cycles[1] > logs["written"].cycles[0] >= 100
        logs = self.run([0, 1], [], late)
        assert logs["place"].cycles[1] < 20

    def test_no_more_than_so_many(self):
        late = {"written": lambda cycle: cycle >= 100}
        assert self.run([0, 1, 2], [], late)["write_back"].cycles[1] < 20
        logs = self.run([0, 1, 2], [], late, in_flight=1)
        assert logs["write_back"].cycles[1] > logs["written"].cycles[0] >= 100

    def test_a_step_of_the_head_waits(self):
        pace = {"written": lambda cycle: cycle >= 100, "step": lambda cycle: cycle >= 5}
        logs = self.run([0], [1, 0, 1], pace)
        assert logs["o_step"].cycles[0] < 10
        assert logs["o_step"].cycles[1:] == [logs["written"].cycles[0] + n for n in (1, 2)]

    def test_nothing_arrives_that_has_not_left(self):
        assert self.run([], [])["written"].cycles == []
        assert len(self.run([0, 1], [])["written"].cycles) == 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"heads": 0}, ValueError, "Heads must be a positive integer, not 0"),
        ({"k": 1}, ValueError, "Slots must be at least 2, one of them for the tail, not 1"),
        ({"block": 12}, ValueError, "Tokens of a block must be a power of two, not 12"),
        ({"block": 0}, ValueError, "Tokens of a block must be a positive integer, not 0"),
        (
            {"in_flight": 1.5},
            TypeError,
            "Write-backs under way must be a positive integer, not 1.5",
        ),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        TailBlocks(**{"heads": 2, "blocks": 8, "k": 4, **changes})
