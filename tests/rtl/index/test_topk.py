import re

import numpy as np
import pytest
from amaranth.back import rtlil
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.index.topk import TopK
from qkloom.tb.index.topk import choose_exactly
from qkloom.tb.simulate import simulate, to_bits
from tests.rtl.index.lists import lists_of

WIDTH, BLOCKS = 5, 20


def run(k_max, cases, **pace):
    """Choose of each (k, scores, forced); return logs and lists."""
    dut = TopK(k_max=k_max, blocks=BLOCKS, score_width=WIDTH)
    shape = dut.i.payload.shape()
    items = []
    for _, scores, forced in cases:
        for block, (score, force) in enumerate(zip(scores, forced, strict=True)):
            fields = {"block": block, "score": int(score), "forced": int(force)}
            items.append(to_bits(shape, fields | {"end": 0, "flat": 0}))
        ending = {"block": 0, "score": 15, "forced": 1, "end": 1, "flat": 1}
        items.append(to_bits(shape, ending))
    inputs = {"k": [k for k, _, _ in cases], "i": items}
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=30_000, idle=100, pace=pace)
    return logs, lists_of(logs["o"].items, BLOCKS)


def draw(rng, k_max):
    n = int(rng.integers(0, BLOCKS + 1))
    span = rng.choice([1, 2, 16])
    return int(rng.integers(0, k_max + 1)), rng.integers(-span, span, n), rng.random(n) < 0.2


@pytest.mark.parametrize("k_max", [1, 2, 5, 17, 20])
@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.3}, {"k": 0.05, "i": 0.8, "o": 0.8}])
def test_choices(k_max, pace):
    rng = np.random.default_rng(k_max)
    cases = [draw(rng, k_max) for _ in range(25)]
    _, found = run(k_max, cases, **pace)
    assert found == [choose_exactly(scores, forced, k) for k, scores, forced in cases]


CANDIDATES = st.lists(st.tuples(st.integers(-16, 15), st.booleans()), max_size=BLOCKS)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), CANDIDATES), min_size=1, max_size=8))
def test_any_choices(cases):
    split = [(k, [s for s, _ in of], [f for _, f in of]) for k, of in cases]
    _, found = run(4, split)
    assert found == [choose_exactly(scores, forced, k) for k, scores, forced in split]


def test_cycles():
    k_max = 7
    logs, _ = run(k_max, [(3, np.arange(10), np.zeros(10))] * 3)
    # Ten candidates and an end; then what is in the cells leaves.
    assert logs["i"].cycles == [
        begin + k for begin in (0, 11 + k_max + 1, 2 * (11 + k_max + 1)) for k in range(11)
    ]
    assert logs["o"].cycles[:4] == [11 + k_max - 3 + 2 + k for k in range(4)]


def test_not_ready_for_long():
    held = 60
    cases = [(4, np.arange(10), np.zeros(10))] * 2
    logs, found = run(4, cases, o=lambda cycle: cycle >= held)
    first = logs["o"].valid_cycles[0]
    assert logs["o"].valid_cycles[: held - first] == list(range(first, held))
    assert logs["o"].cycles[0] == held
    assert found == [[6, 7, 8, 9]] * 2


def test_conversion():
    rtlil.convert(TopK(k_max=40, blocks=64, score_width=9))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k_max": 0}, ValueError, "Largest k must be a positive integer, not 0"),
        ({"blocks": True}, TypeError, "Blocks must be a positive integer, not True"),
        ({"score_width": -2}, ValueError, "Score width must be a positive integer, not -2"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        TopK(**{"k_max": 2, "blocks": 4, "score_width": 8} | change)
