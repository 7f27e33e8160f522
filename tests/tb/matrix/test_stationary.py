import re

import numpy as np
import pytest

from qkloom.rtl.formats import I4, U8
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.matrix.stationary import model, program, read_back, tiled


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 3), (5, 3, 7), (2, 9, 4), (16, 5, 1)])
@pytest.mark.parametrize(("is_signed", "low"), [(True, -128), (False, 0)])
@pytest.mark.parametrize("stationary", [I4, U8])
def test_product(shape, is_signed, low, stationary):
    m, k, n = shape
    unit = MatrixUnit(rows=4, cols=3, stationary=stationary, tag=3)
    rng = np.random.default_rng(shape)
    a = rng.integers(low, low + 256, (m, k))
    b = rng.integers(stationary.min_raw, stationary.max_raw + 1, (k, n))
    tile, i = program(unit, a, b, is_signed=is_signed)
    n_tiles = -(-k // 4) * -(-n // 3)
    assert tile["row"].shape == (n_tiles * 4, 3)
    assert i["row"].shape == (n_tiles * m, 4)
    assert i["tag"][:m].tolist() == [row % 8 for row in range(m)]
    assert np.array_equal(read_back(unit, model(unit, tile, i), shape), a @ b)


def test_signs():
    # Each tile says how the same bits are read; the sign of the format does not matter.
    unit = MatrixUnit(rows=1, cols=1, stream=U8)
    tile = {"row": [[1], [2], [3]], "is_signed": [0, 1, 0]}
    i = {"row": [[255], [-1], [255], [128], [7]], "new_tile": [1, 0, 1, 0, 1], "tag": [0] * 5}
    assert model(unit, tile, i)["row"].tolist() == [[255], [255], [-2], [-256], [21]]


def test_first_row():
    unit = MatrixUnit(rows=1, cols=1)
    message = "The first row must be the first under a tile"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model(unit, {"row": [[1]], "is_signed": [1]}, {"row": [[1]], "new_tile": [0], "tag": [0]})


def test_tiled():
    tiles = tiled(np.arange(6).reshape(2, 3), (2, 2))
    assert tiles.tolist() == [[[[0, 1], [3, 4]], [[2, 0], [5, 0]]]]
