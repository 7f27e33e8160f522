import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.quantize import encode_factor, quantize, quantize_heads

N = Numerics(size=4, head_dim=8, tokens=64, fraction=10)
RNG = np.random.default_rng(5)


def test_quantize_heads():
    x = np.zeros((3, 2, 2))
    x[0] = [[127, -127], [2.5, -3.5]]
    x[1] = [[0, -0.5], [0.25, 0]]
    q, scale = quantize_heads(x)
    assert q.dtype == np.int8
    assert q[0].tolist() == [[127, -127], [2, -4]]
    assert q[1].tolist() == [[0, -127], [64, 0]]
    assert not q[2].any()
    assert scale.tolist() == [1, 0.5 / 127, 0]


def test_quantize_heads_to_4_bits():
    q, scale = quantize_heads(np.array([[[7, -7], [2.5, -3.5]]]), 4)
    assert q.dtype == np.int8
    assert q[0].tolist() == [[7, -7], [2, -4]]
    assert scale.tolist() == [1]


@settings(deadline=None, derandomize=True)
@given(st.floats(1e-300, 1e300), st.integers(6, 12))
def test_encode_factor(factor, fraction):
    largest = (2**17 - 1) / 2**fraction
    if factor > largest:
        with pytest.raises(ValueError, match=r"^A factor must be 0 to "):
            encode_factor(factor, fraction)
        return
    mantissa, shift = encode_factor(factor, fraction)
    assert 0 <= shift <= 63
    assert 0 <= mantissa < 1 << 17
    exact = math.ldexp(factor, fraction)
    assert abs(math.ldexp(mantissa, -shift) - exact) <= max(exact * 2**-17, 2**-64)
    if exact > 2**-46:
        assert mantissa >= 1 << 16


def test_encode_factor_edges():
    assert encode_factor(0.0, 10)[0] == 0
    assert encode_factor(1.0, 10) == (1 << 16, 6)
    assert encode_factor(2 - 2**-20, 10) == (1 << 16, 5)  # rounds up to 2
    assert encode_factor(2**-73, 10) == (1, 63)
    assert encode_factor(2**-80, 10) == (0, 63)
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^A factor must be 0 to 127\.999, not "):
            encode_factor(bad, 10)


def test_quantize():
    q = RNG.normal(size=(2, 4, 5, 8)) * 3
    k, v = RNG.normal(size=(2, 2, 2, 7, 8))
    k[:, 1] *= 10
    o = quantize(q, k, v, N)
    assert o.shape == (2, 4, 2, 5, 7, 8)
    assert o.mantissa.shape == o.shift.shape == o.q_scale.shape == (2, 4)
    assert o.v_scale.shape == (2, 2)
    for original, back in zip((q, k, v), o.floats(), strict=True):
        scale = abs(original).max(axis=(2, 3), keepdims=True) / 127
        assert (abs(original - back) <= scale * 0.5000001).all()
    factor = o.mantissa / 2.0**o.shift / 2**10
    expected = o.q_scale * o.k_scale[:, [0, 0, 1, 1]] / math.sqrt(8) * math.log2(math.e)
    np.testing.assert_allclose(factor, expected, rtol=2**-17)
    raw = np.full(q.shape, 1 << 16)
    assert (o.dequantize(raw)[:, :, 0, 0] == o.v_scale[:, [0, 0, 1, 1]]).all()


@pytest.mark.parametrize(("stream", "stationary"), [(8, 4), (4, 8), (4, 4)])
def test_quantize_to_4_bits(stream, stationary):
    n = Numerics(
        size=4, head_dim=8, tokens=64, p_width=8, stream_width=stream, stationary_width=stationary
    )
    q, k, v = RNG.normal(size=(3, 2, 7, 8))
    o = quantize(q, k, v, n)
    largest = [abs(x).max() for x in (o.q, o.k, o.v)]
    assert largest == [2 ** (w - 1) - 1 for w in (stream, stationary, stationary)]
    expected = o.q_scale * o.k_scale / math.sqrt(8) * math.log2(math.e)
    np.testing.assert_allclose(o.mantissa / 2.0**o.shift / 2**10, expected, rtol=2**-17)


def test_zeros_quantize():
    zeros = np.zeros((1, 2, 8))
    o = quantize(zeros, zeros, zeros, N)
    assert o.mantissa.tolist() == [0]
    assert not o.dequantize(np.ones((1, 2, 8))).any()


def test_scores_too_large():
    q, k = np.ones((2, 3, 8)), np.full((2, 3, 8), 2.0)
    q[1] *= 6000
    message = (
        r"^Scores in base 2 must stay below 32768, not up to 4\.974e\+04 in head 1; scale Q or"
    )
    with pytest.raises(ValueError, match=message):
        quantize(q, k, k, N)
    with pytest.raises(ValueError, match=r"not up to inf in head 0"):
        quantize(q * 1e300, k * 1e300, k, N)
    # Of few and narrow numbers, the factor is what is too large first.
    n = Numerics(
        size=4, head_dim=4, tokens=4, p_width=8, fraction=12, stream_width=4, stationary_width=4
    )
    message = r"^A factor must be 0 to 31\.9998, not 36\.8034; scale what it multiplies down$"
    with pytest.raises(ValueError, match=message):
        quantize(np.full((1, 2, 4), 50.0), np.full((1, 2, 4), 50.0), np.ones((1, 2, 4)), n)


def test_bad_tensors_are_named():
    x = np.ones((1, 2, 8))
    with pytest.raises(ValueError, match=r"^The input: k must be finite in float64"):
        quantize(x, x * np.nan, x, N)
    with pytest.raises(ValueError, match=r"^The input: k and v must have the same shape"):
        quantize(x, x, x[:, :1], N)
