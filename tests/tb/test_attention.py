import math

import numpy as np
import pytest

from qkloom.tb.attention import attention, compare
from qkloom.tb.errors import InputError

RNG = np.random.default_rng(11)


def tensors(heads=2, kv_heads=2, n_q=5, n_kv=7, head_dim=4, batch=()):
    q = RNG.normal(size=(*batch, heads, n_q, head_dim))
    k, v = RNG.normal(size=(2, *batch, kv_heads, n_kv, head_dim))
    return q, k, v


def by_hand(q, k, v, sees):
    """Attend with loops; ``sees(head, i, j)`` says whether query i sees key j."""
    out = np.zeros_like(q)
    group = len(q) // len(k)
    for head, i in np.ndindex(q.shape[:2]):
        kv = head // group
        weights = {
            j: math.exp(q[head, i] @ k[kv, j] / math.sqrt(q.shape[2]))
            for j in range(k.shape[1])
            if sees(head, i, j)
        }
        for j, weight in weights.items():
            out[head, i] += weight / sum(weights.values()) * v[kv, j]
    return out


def test_dense_and_grouped():
    for kv_heads in (1, 2, 4):
        q, k, v = tensors(heads=4, kv_heads=kv_heads)
        expected = by_hand(q, k, v, lambda *_: True)
        np.testing.assert_allclose(attention(q, k, v), expected, rtol=1e-12)


@pytest.mark.parametrize("q_start", [-3, 0, 2, 9])
def test_causal(q_start):
    q, k, v = tensors()
    expected = by_hand(q, k, v, lambda _, i, j: j <= q_start + i)
    out = attention(q, k, v, causal=True, q_start=q_start)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    if q_start < 0:
        assert not out[:, :-q_start].any()


def test_block_mask():
    q, k, v = tensors(n_q=7, n_kv=5)
    mask = np.array([[[1, 0], [0, 0], [0, 1], [1, 1]], [[0, 0], [1, 0], [1, 1], [1, 1]]], bool)
    out = attention(q, k, v, block_mask=mask[:, :, [0, 0, 1]], block=2)
    expected = by_hand(q, k, v, lambda h, i, j: mask[h, i // 2, j // 2 // 2])
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert not out[0, 2:4].any()
    one = attention(q, k, v, causal=True, q_start=-1, block_mask=mask[0][:, [0, 0, 1]], block=2)
    expected = by_hand(q, k, v, lambda _, i, j: mask[0, i // 2, j // 4] and j <= i - 1)
    np.testing.assert_allclose(one, expected, rtol=1e-12)


def test_batch():
    q, k, v = tensors(heads=4, batch=(3,))
    out = attention(q, k, v, causal=True)
    assert out.shape == q.shape
    np.testing.assert_allclose(out[1], attention(q[1], k[1], v[1], causal=True), rtol=1e-12)
    mask = np.ones((3, 1, 3, 4), bool)
    assert (attention(q, k, v, block_mask=mask, block=2) == attention(q, k, v)).all()


def test_large_scores_do_not_overflow():
    q, k, v = tensors()
    out = attention(q * 1e6, k * 1e3, v)
    assert np.isfinite(out).all()
    nearest = np.argmax(q @ k.swapaxes(1, 2), axis=2)
    np.testing.assert_allclose(out, np.take_along_axis(v, nearest[..., None], 1))


def test_long_rows_are_taken_in_chunks(monkeypatch):
    q, k, v = tensors(n_q=20, n_kv=16)
    whole = attention(q, k, v, causal=True)
    monkeypatch.setattr("qkloom.tb.attention._CHUNK", 48)
    np.testing.assert_allclose(attention(q, k, v, causal=True), whole, rtol=1e-12)


def test_wrong_tensors_are_refused():
    q, k, v = tensors()
    with pytest.raises(InputError, match=r"^The input: k and v must have the same shape"):
        attention(q, k, v[:, :6])
    k[1, 2, 0] = np.nan
    with pytest.raises(InputError, match=r"^The input: k must be finite in float64"):
        attention(q, k, v)


@pytest.mark.parametrize(
    ("mask", "block", "error", "message"),
    [
        (
            np.ones((3, 4), bool),
            None,
            ValueError,
            "^Block must be a positive number of tokens, not N",
        ),
        (
            np.ones((3, 4), bool),
            0,
            ValueError,
            "^Block must be a positive number of tokens, not 0$",
        ),
        (np.ones((3, 4)), 2, TypeError, "^Block_mask must be an array of bool, not of float64$"),
        (np.ones((3, 3), bool), 2, ValueError, r"^Block_mask must be \(3, 4\) blocks of 2 tokens"),
        (
            np.ones((3, 3, 4), bool),
            2,
            ValueError,
            r"^Block_mask must broadcast to \(1, 2, 3, 4\), ",
        ),
    ],
)
def test_wrong_block_mask(mask, block, error, message):
    with pytest.raises(error, match=message):
        attention(*tensors(), block_mask=mask, block=block)


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 1e307])
def test_compare_numbers_whose_squares_are_none(size):
    reference = np.array([[1.0, -2.0], [4.0, 8.0]])
    output = np.array([[1.0, -2.0], [4.0, 9.0]])
    wanted, found = compare(output, reference), compare(output * size, reference * size)
    assert found.rms_relative == pytest.approx(wanted.rms_relative)
    assert found.worst_row_rms_relative == pytest.approx(wanted.worst_row_rms_relative)
    assert (found.max_abs, found.mean_abs) == pytest.approx((size, size / 4), rel=1e-9, abs=0)


def test_compare():
    reference = np.zeros((2, 3, 4))
    reference[0] = 2.0
    output = reference.copy()
    output[1, 2] = [3, 0, 0, -4]
    result = compare(output, reference)
    assert result.max_abs == 4
    assert result.mean_abs == 7 / 24
    assert result.rms_relative == pytest.approx(math.sqrt(25 / 48))
    assert result.worst_row == (1, 2)
    assert result.worst_row_rms_relative == pytest.approx(math.sqrt(25 / 4) / math.sqrt(2))
    assert compare(reference, reference).rms_relative == 0
    assert compare(np.zeros((1, 2)), np.zeros((1, 2))).rms_relative == 0
    assert compare(np.ones((1, 2)), np.zeros((1, 2))).rms_relative == math.inf
    with pytest.raises(ValueError, match=r"^Output must have shape \(2, 3, 4\), not \(1, 3, 4\)$"):
        compare(output[:1], reference)
