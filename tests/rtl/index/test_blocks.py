import re

import numpy as np
import pytest
from amaranth.back import rtlil

from qkloom.rtl.index.blocks import BlockScores
from qkloom.tb.index.blocks import pool_exactly
from qkloom.tb.simulate import from_bits, simulate, to_bits

WIDTH = 6


def draw(rng, blocks):
    n = int(rng.integers(0, blocks + 1))
    windows = int(rng.choice([0, 1, 4 * n, 4 * blocks, rng.integers(0, 4 * blocks + 1)]))
    scores = rng.integers(-31, 32, windows) if rng.random() < 0.8 else np.full(windows, -31)
    call = {
        "n_blocks": n,
        "seen": int(rng.integers(0, 4)),
        "init": int(rng.integers(0, blocks + 1)),
        "until_local": int(rng.integers(0, blocks + 1)),
    }
    return scores, call


def run(blocks, cases, **pace):
    dut = BlockScores(blocks=blocks, score_width=WIDTH)
    calls = [{"windows": len(scores), **call} for scores, call in cases]
    inputs = {
        "call": [to_bits(dut.call.payload.shape(), call) for call in calls],
        "i": [to_bits(dut.i.payload.shape(), int(x)) for scores, _ in cases for x in scores],
    }
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=30_000, idle=60, pace=pace)
    return logs, [from_bits(dut.o.payload.shape(), x) for x in logs["o"].items]


@pytest.mark.parametrize("blocks", [1, 2, 5, 16])
@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.3}, {"call": 0.1, "i": 0.8, "o": 0.8}])
def test_blocks(blocks, pace):
    rng = np.random.default_rng(blocks)
    cases = [draw(rng, blocks) for _ in range(40)]
    _, found = run(blocks, cases, **pace)
    for scores, call in cases:
        pooled = pool_exactly(scores, **call, score_width=WIDTH)
        mine = [found.pop(0) for _ in range(call["n_blocks"])]
        assert [x["block"] for x in mine] == list(range(call["n_blocks"]))
        assert [x["score"] for x in mine] == pooled.scores.tolist()
        assert [x["forced"] for x in mine] == pooled.forced.tolist()
        assert not any(x["end"] for x in mine)
        end = found.pop(0)
        assert end["end"]
        assert end["flat"] == pooled.flat
    assert not found


@pytest.mark.parametrize(("windows", "n"), [(40, 10), (7, 10), (40, 2), (0, 3), (0, 0)])
def test_cycles(windows, n):
    call = {"n_blocks": n, "seen": 3, "init": 0, "until_local": 10}
    logs, _ = run(10, [(np.zeros(windows, int), call)] * 2)
    steps = max(windows, 4 * n)
    last = 4 * n == steps and n > 0  # the last block leaves before the end
    assert [logs["call"].cycles[0], logs["call"].cycles[1]] == [0, 2 + steps + last]
    for b in range(n):
        assert logs["o"].cycles[b] == 1 + 4 * b + 4


def test_never_ready():
    call = {"n_blocks": 2, "seen": 3, "init": 0, "until_local": 1}
    logs, _ = run(2, [(np.arange(8), call)], o=0)
    assert logs["o"].valid_cycles[0] == 5
    assert len(logs["i"].items) == 4


def test_conversion():
    rtlil.convert(BlockScores(blocks=16, score_width=9))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Blocks must be a positive integer, not 0"),
        ({"score_width": 2.0}, TypeError, "Score width must be a positive integer, not 2.0"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlockScores(**{"blocks": 4, "score_width": 8} | change)
