"""SparDA's reference against its rule written out in loops."""

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.forecast import compress_keys, forecast, foretell, pool_scores, select_blocks


def in_loops(f, k, position, top_k, init, local):
    windows = [k[j : j + 32].mean(axis=0) for j in range(0, len(k) - 31, 16)]
    q_block = position // 64
    ranked = []
    for b in range(q_block + 1):
        near = [
            float(f @ windows[j])
            for j in range(4 * b - 1, 4 * b + 4)
            if 0 <= j < len(windows) and 16 * j <= position
        ]
        forced = b < init or q_block - local <= b
        ranked.append((not forced, -max(near, default=-np.inf), b))
    kept = sorted(ranked, key=lambda x: (x[0], 0 if not x[0] else x[1], x[2]))[:top_k]
    return sorted(b for _, _, b in kept)


@pytest.mark.parametrize("seed", range(30))
def test_is_the_rule(seed):
    rng = np.random.default_rng(seed)
    tokens = int(rng.choice([1, 31, 32, 64, 200, 1000, int(rng.integers(1, 2000))]))
    k, f = rng.standard_normal((2, tokens, 8)), rng.standard_normal((2, 8))
    if seed % 3 == 0:
        f[:] = 0  # all scores equal
    init, local = int(rng.integers(0, 3)), int(rng.integers(0, 4))
    top_k = init + local + 1 + int(rng.integers(0, 6))
    position = int(rng.integers(0, tokens))
    found = forecast(f, k, position, top_k=top_k, init=init, local=local)
    for head in range(2):
        expected = in_loops(f[head], k[head], position, top_k, init, local)
        assert found[head].tolist() == expected


def test_windows_are_complete():
    assert [len(compress_keys(np.zeros((n, 4)))) for n in (0, 31, 32, 47, 48, 64)] == [
        0, 0, 1, 1, 2, 3
    ]  # fmt: skip
    k = np.arange(48.0)[:, None]
    assert compress_keys(k).tolist() == [[15.5], [31.5]]


def test_a_block_sees_the_window_before_it():
    scores = np.zeros(12)
    scores[3] = 1
    assert pool_scores(scores, 3).tolist() == [1, 1, 0]
    assert pool_scores(scores[:2], 3).tolist() == [0, -np.inf, -np.inf]


def test_lower_block_of_equal_ones():
    assert select_blocks(np.zeros(10), top_k=4, init=1, local=0).tolist() == [0, 1, 2, 9]


def test_refused():
    with pytest.raises(InputError, match=r"^top_k must be at least init \+ local \+ 1, 34, which"):
        select_blocks(np.zeros(100), top_k=33, init=1, local=32)
    with pytest.raises(InputError, match=r"^f and k must be \(kv_heads, head_dim\) and "):
        forecast(np.zeros((2, 8)), np.zeros((1, 64, 8)), 3)


def test_what_is_foretold():
    q = np.random.default_rng(0).standard_normal((4, 5, 8))
    oracle = foretell(q, 2)
    np.testing.assert_allclose(oracle[1], q[2:].mean(axis=0), rtol=1e-6)
    noisy = foretell(q, 2, 0.0, seed=1)
    assert (noisy == foretell(q, 2, 0.0, seed=1)).all()
    assert (noisy != foretell(q, 2, 0.0, seed=2)).any()
