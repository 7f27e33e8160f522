import numpy as np
import pytest

from qkloom.tb.index.block_pool import pool_block_means
from qkloom.tb.index.pool import block_means


@pytest.mark.parametrize("block", [2, 16, 128])
@pytest.mark.parametrize("fraction", [1, 4, 8])
def test_nearest_to_the_mean(block, fraction):
    rng = np.random.default_rng(block)
    x = rng.integers(-128, 128, (5 * block + block // 2 + 1, 3)).astype(np.int8)
    x[:block] = -128
    x[block : 2 * block] = 127
    means = pool_block_means(x, block=block, fraction=fraction)
    exact = block_means(x.astype(float), block) * 2**fraction
    assert np.abs(means - exact).max() <= 0.5 + 2**-7
    assert (means[0] == -128 << fraction).all()
    assert (means[1] == 127 << fraction).all()


def test_every_count_keeps_the_largest():
    for count in range(1, 129):
        for value in (-128, 127):
            x = np.full((count, 1), value, np.int8)
            assert pool_block_means(x, block=128, fraction=4).tolist() == [[value << 4]]
