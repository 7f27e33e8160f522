"""The transposer gives back tiles by columns, whatever stalls."""

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.buffer.transpose import Transposer
from qkloom.rtl.formats import I8, Integer
from qkloom.tb.simulate import from_bits, simulate, to_bits


def run(dut, tiles, **options):
    shape = dut.i.payload.shape()
    rows = [to_bits(shape, row) for tile in tiles for row in tile.tolist()]
    log = simulate(dut, inputs={"i": rows}, outputs=["o"], idle=100, **options)
    return log, [from_bits(shape, item) for item in log["o"].items]


def random_tiles(n, size, end=128):
    return np.random.default_rng(size).integers(-end, end, (n, size, size))


@pytest.mark.parametrize("pace", [1.0, {"i": 0.6, "o": 0.6}, {"i": 0.9, "o": 0.3}])
@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_columns(size, pace):
    tiles = random_tiles(6, size)
    pace = pace if isinstance(pace, dict) else {}
    _, columns = run(Transposer(size=size), tiles, cycles=3000, pace=pace)
    assert columns == [column for tile in tiles for column in tile.T.tolist()]


def test_elements_of_4_bits():
    tiles = random_tiles(2, 4, end=8)
    _, columns = run(Transposer(size=4, element=Integer(4)), tiles, cycles=200)
    assert columns == [column for tile in tiles for column in tile.T.tolist()]


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_row_goes_in_and_a_column_leaves_in_every_cycle(size):
    log, _ = run(Transposer(size=size), random_tiles(5, size), cycles=300)
    assert log["i"].cycles == list(range(5 * size))
    first = log["o"].cycles[0]
    assert first == size - 1 + 4
    assert log["o"].cycles == list(range(first, first + 5 * size))


def test_two_tiles_wait_when_nobody_takes_them():
    pace = {"o": lambda cycle: cycle >= 60}
    log, columns = run(Transposer(size=8), random_tiles(5, 8), cycles=300, pace=pace)
    assert log["i"].cycles[15] == 15
    assert log["i"].cycles[16] > 60
    assert len(columns) == 40


@pytest.mark.parametrize("size", [0, 1, 6])
def test_bad_size(size):
    with pytest.raises(ValueError, match=r"^Tile size must be a .*, not \d$"):
        Transposer(size=size)


def test_it_emits():
    assert emit(Transposer(size=4, element=I8)).rtlil
