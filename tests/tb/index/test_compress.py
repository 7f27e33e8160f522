import numpy as np
import pytest

from qkloom.tb.index.compress import compress_exactly
from qkloom.tb.index.forecast import compress_keys


@pytest.mark.parametrize("tokens", [0, 31, 32, 47, 48, 200])
def test_is_the_mean_rounded_half_up(tokens):
    k = np.random.default_rng(tokens).integers(-128, 128, (tokens, 5))
    expected = np.floor(compress_keys(k.astype(float)) + 0.5)
    assert np.array_equal(compress_exactly(k), expected)


def test_extremes_are_int8():
    for x in (-128, 127):
        assert compress_exactly(np.full((32, 1), x)).tolist() == [[x]]
