import numpy as np
import pytest

from qkloom.tb.buffer.tile import strip_rows, tile

STRIP = np.arange(12).reshape(2, 6)  # two tokens, three tiles


def test_rows_in_memory_order():
    rows = strip_rows(STRIP, size=2)
    assert [row["row"] for row in rows] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert [row["last"] for row in rows] == [0, 0, 1, 0, 0, 1]


def test_a_strip_of_one_tile_has_only_last_rows():
    assert strip_rows([[1, 2], [3, 4]], size=2) == [
        {"row": [1, 2], "last": 1},
        {"row": [3, 4], "last": 1},
    ]


@pytest.mark.parametrize(
    ("columns", "beats"), [(False, [[2, 3], [8, 9]]), (True, [[2, 8], [3, 9]])]
)
def test_tile(columns, beats):
    assert tile(STRIP, 1, columns=columns).tolist() == beats
