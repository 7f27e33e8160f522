"""The score accumulator sums the tiles of head_dim into the bank of the step."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.lane.score import ScoreAccumulator
from qkloom.tb.simulate import from_bits, reader, simulate, to_bits

SHAPE = {"size": 4, "block_rows": 6, "head_dim": 16, "slots": 2, "row_width": 2}
CHUNKS = 2
WIDTHS = {"product_width": 18, "score_width": 20}
DISTANCE = 3
"""Cycles after which a row may come again."""


class Script:
    """Steps in turn over the banks: rows from the matrix unit, and the scores they sum up to.

    Rows of the second product, which are not for the accumulator, fill the time between.
    """

    def __init__(self, *, seed, n_steps=8, rows=None, d_tiles=None):
        self.rng = np.random.default_rng(seed)
        self.items, self.scores, self.banks = [], [], []
        for n in range(n_steps):
            n_rows = rows or int(self.rng.integers(1, SHAPE["block_rows"] + 1))
            n_tiles = d_tiles or int(self.rng.integers(1, 5))
            # Either bank is read while the other one is written.
            self.add((n + seed) % 2, self.products(n_tiles, n_rows))
            if n % 2:  # the banks are read before they are written again
                self.fill(2 * CHUNKS * SHAPE["block_rows"] + 4)

    def products(self, n_tiles, n_rows):
        limit = 1 << WIDTHS["product_width"] - 1
        shape = n_tiles, n_rows, SHAPE["size"]
        products = self.rng.integers(-limit, limit, shape)
        ends = self.rng.choice([-limit, limit - 1], shape[1:])  # so that some sums are extreme
        return np.where(self.rng.random(shape[1:]) < 0.3, ends, products)

    def add(self, bank, products):
        n_tiles, n_rows, _ = products.shape
        for tile, rows in enumerate(products):
            for row, elements in enumerate(rows):
                tag = {"value": 0, "bank": bank, "row": row, "tile": tile, "first": tile == 0}
                tag["complete"] = tile == n_tiles - 1 and row == n_rows - 1
                self.items.append((elements, tag))
            if tile < n_tiles - 1:
                self.fill(DISTANCE - n_rows)
        self.banks.append(bank)
        self.scores.append(products.sum(axis=0))

    def fill(self, n):
        for _ in range(n):
            tag = {"value": 1, "first": 1, "complete": 1, "tile": 0}
            tag |= {name: int(self.rng.integers(0, 2)) for name in ("bank", "row")}
            self.items.append((self.rng.integers(-9, 9, SHAPE["size"]), tag))


def run(script, *, pace=1.0):
    """Return when each bank was complete, and what it held in the cycle after."""
    dut = ScoreAccumulator(**SHAPE, **WIDTHS)
    found = []

    places = [
        [(bank, address) for address in range(CHUNKS * len(scores))]
        for bank, scores in zip(script.banks, script.scores, strict=True)
    ]
    others = {"partial": 0, "slot": 0, "rescale": {"amount": 0, "of_new": 0}}
    shape = dut.i.payload.shape()
    items = [to_bits(shape, {"row": row, "tag": tag | others}) for row, tag in script.items]
    log = simulate(
        dut,
        inputs={"i": items},
        outputs=["complete"],
        cycles=4000,
        idle=60,
        pace={"i": pace},
        beside=[reader(dut.complete, dut.r, places, found)],
    )
    banks = [from_bits(dut.complete.payload.shape(), item) for item in log["complete"].items]
    assert banks == [{"bank": bank} for bank in script.banks]
    return log, [np.reshape(chunks, (-1, SHAPE["size"])).tolist() for chunks in found]


@pytest.mark.parametrize("pace", [1.0, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_scores_of_random_steps(seed, pace):
    script = Script(seed=seed)
    _, found = run(script, pace=pace)
    assert found == [scores.tolist() for scores in script.scores]


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_row_may_come_again_after_three_cycles(rows):
    script = Script(seed=rows, rows=rows, d_tiles=4)
    _, found = run(script)
    assert found == [scores.tolist() for scores in script.scores]


def test_extremes():
    script = Script(seed=0, n_steps=0)
    for bank, limit in enumerate((-1 << 17, (1 << 17) - 1)):
        script.add(bank, np.full((4, 6, 4), limit))
    assert run(script)[1] == [[[-1 << 19] * 4] * 6, [[(1 << 19) - 4] * 4] * 6]


def test_complete_comes_two_cycles_after_the_last_row():
    script = Script(seed=3, rows=4)
    log, _ = run(script)
    last = [
        cycle
        for cycle, (_, tag) in zip(log["i"].cycles, script.items, strict=True)
        if tag["complete"] and not tag["value"]
    ]
    assert log["complete"].cycles == [cycle + 2 for cycle in last]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"score_width": 17}, ValueError, "Score width must be at least product width 18, not 17"),
        ({"product_width": 0}, ValueError, "Product width must be a positive integer, not 0"),
        ({"score_width": 2.5}, TypeError, "Score width must be a positive integer, not 2.5"),
        ({"row_width": 3}, ValueError, "Row width must divide size 4, not 3"),
        ({"head_dim": 9}, ValueError, "Head_dim must be a multiple of size 4, not 9"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        ScoreAccumulator(**SHAPE | WIDTHS | change)


def test_it_emits():
    assert emit(ScoreAccumulator(**SHAPE, **WIDTHS)).rtlil
