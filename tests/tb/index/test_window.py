import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.window import window


@pytest.mark.parametrize(("n", "init", "local"), [(0, 1, 1), (1, 0, 0), (7, 2, 3), (5, 9, 0)])
def test_is_the_rule(n, init, local):
    taken = [[c <= r and (c < init or c >= r - local) for c in range(n)] for r in range(n)]
    np.testing.assert_array_equal(
        window(n, init=init, local=local), np.reshape(taken, (n, n)).astype(bool)
    )


def test_refused():
    with pytest.raises(InputError, match=r"^n, init and local must be 0 or more, not 4, 1 and -1$"):
        window(4, local=-1)
