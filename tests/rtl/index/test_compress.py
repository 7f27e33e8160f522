import re

import numpy as np
import pytest
from amaranth.back import rtlil

from qkloom.rtl.index.compress import KeyCompressor
from qkloom.tb.index.compress import compress_exactly
from qkloom.tb.simulate import from_bits, simulate
from tests.rtl.index.test_dot import beats


def run(sequences, width, head_dim, **pace):
    dut = KeyCompressor(width=width, head_dim=head_dim)
    shape = dut.i.payload.shape()
    sent = [b for keys in sequences for b in beats(shape, keys.tolist(), width)]
    logs = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=20_000, idle=200, pace=pace)
    return logs, [from_bits(shape, x) for x in logs["o"].items]


def expected(sequences, width):
    return [
        {"x": mean[k : k + width].tolist(), "last": int(k + width == len(mean)), "done": 0}
        for keys in sequences
        for mean in compress_exactly(keys)
        for k in range(0, len(mean), width)
    ]


@pytest.mark.parametrize(("width", "head_dim"), [(4, 4), (2, 8), (3, 9)])
@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.1}, {"i": 0.7, "o": 0.1}])
def test_means(width, head_dim, pace):
    rng = np.random.default_rng(width)
    sequences = []
    for tokens in (100, 1, 31, 32, 33, 47, 48, 15, 16, 64, 130):
        elements = width * rng.integers(1, head_dim // width + 1)
        sequences.append(rng.integers(-128, 128, (tokens, elements)))
    sequences += [np.full((64, head_dim), x) for x in (-128, 127)]
    sequences.append(np.repeat([[-1], [0]], 17, axis=0) * np.ones(head_dim, int))  # ties
    _, found = run(sequences, width, head_dim, **pace)
    assert found == expected(sequences, width)


def test_rate_and_latency():
    logs, found = run([np.ones((96, 8), int)], 2, 8)
    assert logs["i"].cycles == list(range(96 * 4))
    # The beats of tokens 31, 47, 63, 79, 95.
    ends = [4 * token + beat + 2 for token in range(31, 96, 16) for beat in range(4)]
    assert logs["o"].cycles == ends
    assert len(found) == 20


def test_rounding_is_once():
    # Halves of 16 times 7 and 16 times 8: the mean is 7.5, and ties go up.
    keys = np.repeat([[7], [8], [-7], [-8]], 16, axis=0)
    assert compress_exactly(keys).tolist() == [[8], [1], [-7]]
    _, found = run([keys], 1, 1)
    assert [x["x"] for x in found] == [[8], [1], [-7]]


def test_conversion():
    rtlil.convert(KeyCompressor(width=4, head_dim=12))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"width": -1}, ValueError, "Width must be a positive integer, not -1"),
        ({"head_dim": None}, TypeError, "Head dimension must be a positive integer, not None"),
        ({"head_dim": 9}, ValueError, "Head dimension must be a multiple of the width, 4, not 9"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        KeyCompressor(**{"width": 4, "head_dim": 8} | change)
