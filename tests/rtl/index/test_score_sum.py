"""Scores of a block, summed up whoever may see them."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.score_sum import ScoreSums
from qkloom.tb.simulate import from_bits, simulate, to_bits

PARAMETERS = {"size": 8, "block": 16, "row_width": 4, "score_width": 12, "sum_width": 22}


@pytest.mark.parametrize(
    "changes", [{}, {"row_width": 8}, {"row_width": 1}, {"block": 8}, {"size": 4, "block": 16}]
)
@pytest.mark.parametrize("pace", [1, 0.5])
def test_blocks(changes, pace):
    parameters = PARAMETERS | changes
    dut = ScoreSums(**parameters)
    size, width, block = (parameters[name] for name in ("size", "row_width", "block"))
    rng = np.random.default_rng(width)
    sent, expected = [], []
    for tokens in (1, block - 1, block, 3 * block + size, 2 * block + 1):
        for start in range(0, tokens, block):
            total = 0
            keys = min(block, tokens - start)
            for first in range(0, keys, size):
                of_tile = min(size, keys - first)
                rows = rng.integers(1, 6)
                scores = rng.choice([-2048, 2047, *rng.integers(-2048, 2048, 6)], (rows, size))
                total += int(scores[:, :of_tile].sum())
                for row in range(rows):
                    for chunk in range(size // width):
                        end = row == rows - 1 and chunk == size // width - 1
                        sent.append(
                            {
                                "scores": scores[row, chunk * width :][:width].tolist(),
                                "keys": of_tile,
                                "chunk": chunk,
                                "step_end": int(end),
                                "last": int(start + first + of_tile == tokens),
                            }
                        )
            expected.append({"sum": total, "keys": keys})
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in sent]},
        outputs=["o"],
        cycles=20_000,
        idle=30,
        pace={"i": pace},
    )
    assert [from_bits(dut.o.payload.shape(), item) for item in log["o"].items] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 12}, "Block must be a multiple of size 8, not 12"),
        ({"row_width": 3}, "Row width must divide size 8, not 3"),
        ({"sum_width": 13}, "Sum width must be at least 14, not 13"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ScoreSums(**(PARAMETERS | changes))


def test_it_converts():
    emit(ScoreSums(**PARAMETERS))
