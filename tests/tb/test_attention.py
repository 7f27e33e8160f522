import math

import numpy as np
import pytest

from qkloom.tb.attention import Shape, as_tensor, attention, check_shapes, compare

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


class Exporter:
    """A tensor of another framework."""

    def __init__(self, array, **methods):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Convertible:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise RuntimeError("the tensor is on another device")
        return self.array


def test_takes_what_numpy_takes():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    for other in (x.tolist(), x.astype(np.float16), x.astype(int), Convertible(x), Exporter(x)):
        result = as_tensor(other, "Q")
        assert result.dtype == np.float64
        assert (result == x).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([["a"]], r"^Q must be an array of real numbers: its dtype is <U1$"),
        (np.ones((1, 1, 1), complex), r"^Q must be an array of real numbers: its dtype is complex"),
        ([[1], [1, 2]], r"^Q must be an array of real numbers: "),
        (
            Convertible(None),
            r"^Q must be an array of real numbers: the tensor is on another device$",
        ),
    ],
)
def test_no_numbers(x, message):
    with pytest.raises(TypeError, match=message):
        as_tensor(x, "Q")


def test_wrong_tensor():
    rule = r"\(heads, tokens, head_dim\) or \(batch, heads, tokens, head_dim\)"
    with pytest.raises(ValueError, match=rf"^K must be {rule}, not \(2, 3\)$"):
        as_tensor(np.ones((2, 3)), "K")
    with pytest.raises(ValueError, match=r"^K must have no axis of length 0, not \(2, 0, 3\)$"):
        as_tensor(np.ones((2, 0, 3)), "K")
    x = np.ones((2, 3, 4))
    x[1, 2, 0] = x[1, 2, 3] = np.nan
    message = (
        r"^V must be finite, not nan at \(1, 2, 0\) \(2 such elements\); clean the tensor first$"
    )
    with pytest.raises(ValueError, match=message):
        as_tensor(x, "V")
    x[0, 0, 0] = -np.inf
    with pytest.raises(ValueError, match=r"^V must be finite, not -inf at \(0, 0, 0\)"):
        as_tensor(x, "V")


def test_shapes():
    assert check_shapes(*tensors(heads=6, kv_heads=3, batch=(5,))) == (5, 6, 3, 5, 7, 4)
    assert Shape(1, 6, 3, 1, 1, 1).group == 2


@pytest.mark.parametrize(
    ("q", "k", "v", "rule"),
    [
        ((2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), "Q, K and V must have as many axes as each other"),
        ((2, 3, 4), (2, 3, 4), (2, 5, 4), "K and V must have one shape"),
        ((2, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), "Q, K and V must have one batch size"),
        ((2, 3, 4), (2, 3, 5), (2, 3, 5), "Q, K and V must have one head_dim"),
        ((3, 3, 4), (2, 3, 4), (2, 3, 4), "Heads of Q must be a multiple of the heads of K and V"),
    ],
)
def test_shapes_that_disagree(q, k, v, rule):
    with pytest.raises(ValueError) as caught:
        attention(np.ones(q), np.ones(k), np.ones(v))
    assert str(caught.value) == f"{rule}, not Q {q}, K {k}, V {v}"


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
