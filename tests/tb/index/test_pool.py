import numpy as np
import pytest

from qkloom.tb.index.pool import block_means, block_sums, divergence_of, largest, last_queries
from qkloom.tb.tensors import default_tensors


def test_last_queries_are_attention():
    tensors = default_tensors()
    q, k = (np.asarray(x[0, 0] if x.ndim == 4 else x[0], float) for x in (tensors.q, tensors.k))
    attended = last_queries(q, k, 16)
    np.testing.assert_allclose(attended.sum(axis=1), 1)
    assert (np.triu(attended[:, -16:], 1) == 0).all()


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_blocks(n):
    x = np.arange(2.0 * n).reshape(n, 2)
    parts = [x[k : k + 4] for k in range(0, n, 4)]
    np.testing.assert_array_equal(block_sums(x, 4), [part.sum(axis=0) for part in parts])
    np.testing.assert_array_equal(block_means(x, 4), [part.mean(axis=0) for part in parts])


def test_largest_takes_the_first_of_equal_ones():
    assert largest(np.array([1.0, 3, 2, 3, 2]), 3).tolist() == [1, 3, 2]


def test_divergence():
    p, v = np.array([1.0, 0]), np.array([0.0, 1])
    assert np.isnan(divergence_of(p, v, "nan"))
    assert divergence_of(p, v, "zero") == pytest.approx(np.sqrt(np.log(2)))
    assert divergence_of(v, v, "zero") == 0
