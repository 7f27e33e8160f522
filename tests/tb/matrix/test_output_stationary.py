import re

import numpy as np
import pytest

from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.tb.matrix.output_stationary import model, program, read_back


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 3), (5, 3, 7), (2, 9, 4), (16, 5, 1)])
def test_product(shape):
    m, k, n = shape
    unit = OutputStationary(rows=4, cols=3)
    rng = np.random.default_rng(shape)
    a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    i_a, i_b = program(unit, a, b)
    n_folds = -(-m // 4) * -(-n // 3)
    assert i_a["row"].shape == (n_folds * k, 4)
    assert i_b["row"].shape == (n_folds * k, 3)
    o = model(unit, i_a, i_b)
    assert o["last"].tolist() == [0, 0, 0, 1] * n_folds
    assert np.array_equal(read_back(unit, o, shape), a @ b)


def test_overflow():
    # Longer folds than the unit was made for wrap, as they do in hardware.
    unit = OutputStationary(rows=1, cols=1, depth=1)
    i_a = {"row": np.full((3, 1), -128), "last": [0, 0, 1]}
    assert model(unit, i_a, i_a)["row"].tolist() == [[3 * 2**14 - 2**16]]


@pytest.mark.parametrize(("a", "b"), [([0, 1], [1, 1]), ([1, 0], [1, 0])])
def test_folds(a, b):
    message = "Both operands must consist of the same whole folds"
    rows = np.ones((2, 1), int)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model(OutputStationary(rows=1, cols=1), {"row": rows, "last": a}, {"row": rows, "last": b})
