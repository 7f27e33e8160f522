"""What rows have in blocks, bit for bit."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.partial import RowPartials
from qkloom.tb.formats import round_shift
from qkloom.tb.simulate import from_bits, simulate, to_bits

PARAMETERS = {"size": 4, "block": 16, "row_width": 2, "slots": 2, "p_width": 8, "sum_width": 18}


def head(rng, tokens, parameters):
    """Return the chunks of a head, with random rescales, and what its rows have in each block."""
    size, block, width = (parameters[name] for name in ("size", "block", "row_width"))
    rows = min(block, tokens)
    start = tokens - rows
    chunks, found = [], []
    for first_key in range(0, tokens, block):
        keys = min(block, tokens - first_key)
        state = np.zeros((rows, 2), np.int64)
        for tile in range(0, keys, size):
            is_last = first_key + tile + min(size, keys - tile) == tokens
            for row in range(rows):
                p = rng.choice([0, 255, *rng.integers(0, 256, 6)], size)
                amount, of_new = int(rng.choice([0, 0, 1, 5, 63])), int(rng.integers(2))
                maximum = int(rng.integers(-(1 << 15), 1 << 15))
                boundary = (start + row) % block
                far = p[np.arange(tile, tile + size) <= boundary].sum()
                new = np.array([p.sum(), far]) << 4
                state[row] = round_shift(state[row], 0 if of_new else amount) + round_shift(
                    new, amount if of_new else 0
                )
                for chunk in range(size // width):
                    chunks.append(
                        {
                            "p": p[chunk * width :][:width].tolist(),
                            "rescale": {"amount": amount, "of_new": of_new},
                            "maximum": maximum,
                            "place": {
                                "slot": 0,
                                "row": row,
                                "begin": int(chunk == 0),
                                "end": int(chunk == size // width - 1),
                                "first": int(first_key + tile == 0),
                                "last": int(is_last),
                            },
                            "chunk": chunk,
                            "diagonal": (start - first_key - tile) % block,
                            "step_end": int(row == rows - 1 and chunk == size // width - 1),
                        }
                    )
                if tile + size >= keys:
                    found.append(
                        {
                            "row": row,
                            "all": int(state[row, 0]),
                            "far": int(state[row, 1]),
                            "maximum": maximum % (1 << 16),
                            "carry": int(start % block == 0 or start % block + row >= block),
                            "last": int(is_last),
                            "row_last": int(row == rows - 1),
                        }
                    )
    return chunks, found


@pytest.mark.parametrize(
    "changes",
    [{}, {"row_width": 4, "size": 8}, {"block": 4}, {"row_width": 1}, {"size": 16, "row_width": 8}],
)
def test_heads(changes):
    parameters = PARAMETERS | changes
    dut = RowPartials(**parameters)
    rng = np.random.default_rng(3)
    sent, expected = [], []
    # Rows come again no sooner than their state is there: no head of very few rows.
    block = parameters["block"]
    for tokens in (block, 3 * block, 2 * block + 1, 2 * block + 3, 4 * block - 1):
        chunks, found = head(rng, tokens, parameters)
        sent += chunks
        expected += found
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in sent]},
        outputs=["o"],
        cycles=40_000,
        idle=100,
    )
    assert [from_bits(dut.o.payload.shape(), item) for item in log["o"].items] == expected
    assert log["o"].cycles[-1] - log["i"].cycles[-1] == dut.latency


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 12}, "Block must be a power of two and a multiple of size 4, not 12"),
        ({"block": 2}, "Block must be a power of two and a multiple of size 4, not 2"),
        ({"sum_width": 15}, "Sum width must be at least 16, not 15"),
        ({"row_width": 3}, "Row width must divide size 4, not 3"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RowPartials(**(PARAMETERS | changes))


def test_it_converts():
    emit(RowPartials(**PARAMETERS))
