from qkloom.tb.adder.tree import total


def test_planes_and_constant():
    assert total([[1, 2], [3], [-1]], width=8, constant=5) == 1 + 2 + 2 * 3 - 4 + 5


def test_last_plane_subtracted_and_wrapped():
    assert total([[1], [3]], width=4, subtract=True) == (1 - 6) % 16
