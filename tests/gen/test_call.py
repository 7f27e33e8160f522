from typing import Any

import numpy as np
import pytest

from qkloom.gen.call import prepare
from qkloom.gen.chip import read_chip
from qkloom.tb.attention import attention, compare
from qkloom.tb.tensors import InputError

TINY = read_chip("u280-tiny")


def tensors(*shape: int, heads: int | None = None, seed: int = 0) -> list[Any]:
    """Return q, k and v; ``heads`` of them for k and v."""
    rng = np.random.default_rng(seed)
    kv_shape = (*shape[:-3], heads or shape[-3], *shape[-2:])
    return [rng.standard_normal(s).astype(np.float32) for s in (shape, kv_shape, kv_shape)]


class TestPrepare:
    def test_shapes(self) -> None:
        prepared = prepare(TINY, *tensors(2, 4, 5, 12, heads=2))
        assert prepared.call.q.shape == (8, 5, 16)
        assert prepared.call.k.shape == (4, 5, 16)
        assert prepared.call.mantissa.shape == prepared.call.shift.shape == (8,)
        assert prepared.expected.shape == (2, 4, 5, 12)

    def test_padding_is_zero(self) -> None:
        call = prepare(TINY, *tensors(1, 3, 12)).call
        for padded in (call.q, call.k, call.v):
            assert not padded[..., 12:].any()

    def test_padding_changes_nothing(self) -> None:
        narrow = tensors(1, 20, 12)
        wide = [np.pad(x, ((0, 0), (0, 0), (0, 4))) for x in narrow]
        scale = 12**-0.5  # of the narrow head, for both
        a, b = prepare(TINY, *narrow, scale=scale), prepare(TINY, *wide, scale=scale)
        np.testing.assert_array_equal(a.expected, b.expected[..., :12])

    def test_usual_scale_is_the_default(self) -> None:
        q, k, v = tensors(1, 20, 16)
        a, b = prepare(TINY, q, k, v), prepare(TINY, q, k, v, scale=0.25)
        np.testing.assert_array_equal(a.expected, b.expected)
        np.testing.assert_array_equal(a.call.mantissa, b.call.mantissa)

    def test_negative_scale_turns_the_queries_around(self) -> None:
        q, k, v = tensors(1, 20, 16)
        a, b = prepare(TINY, -q, k, v), prepare(TINY, q, k, v, scale=-0.25)
        np.testing.assert_array_equal(a.expected, b.expected)

    @pytest.mark.parametrize("size", [1e-50, 1e-300, 1e60])
    def test_values_that_float32_does_not_hold(self, size: float) -> None:
        q, k, v = (x.astype(np.float64) for x in tensors(1, 20, 16))
        a, b = prepare(TINY, q, k, v), prepare(TINY, q, k, v * size)
        assert a.expected.any()
        np.testing.assert_array_equal(a.expected, b.expected)
        assert b.tensors.v.dtype == b.dtype == np.float64
        output = b.operands.dequantize(b.expected)
        error = compare(output, attention(*b.tensors)).rms_relative
        assert 0 < error < 0.05

    def test_values_that_meet(self) -> None:
        q, k, v = (x.astype(np.float64) for x in tensors(1, 20, 16))
        a, b = prepare(TINY, q, k, v), prepare(TINY, q * 2.0**-150, k * 2.0**150, v)
        np.testing.assert_array_equal(a.expected, b.expected)

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            ((1, 4, 65), {}, r"u280-tiny takes head_dim \(last axis\) up to 64, not 65; cut"),
            ((1, 1025, 8), {}, r"u280-tiny takes queries \(axis .* up to 1024, not 1025; cut the"),
            (
                (1, 4, 8),
                {"q_start": 3},
                r"q_start must be 0 unless causal is chosen, not 3; choose",
            ),
            (
                (1, 4, 8),
                {"q_start": -1025, "causal": True},
                r"q_start must be -1024 to 1024, not -1025; positions count",
            ),
            (
                (1, 4, 8),
                {"scale": float("inf")},
                r"scale must be a finite number, not inf; leave it out$",
            ),
            ((1, 4, 8), {"scale": 1e308}, r"scale times q must stay finite, .* not with 1e\+308; "),
            ((1, 4, 8), {"scale": 1e6}, r"Scores in base 2 must stay below 32768, "),
            (
                (1, 4, 8),
                {"query_bits": 9},
                r"query_bits must be 2 to 8, .* u280-tiny, not 9; choose",
            ),
            (
                (1, 4, 8),
                {"query_bits": 1},
                r"query_bits must be 2 to 8, .* u280-tiny, not 1; choose",
            ),
            ((4, 8), {}, r"The input: q, k and v must be \(heads, tokens, head_dim\) or "),
            (
                (2, 20, 8),
                {"block_mask": np.ones((3, 2), bool)},
                r"block_mask must be \(2, 2, 2\), or broadcast to it: heads, .* not \(3, 2\)$",
            ),
            ((2, 20, 8), {"block_mask": np.ones((2, 2))}, r"block_mask must be an array of bool, "),
        ],
    )
    def test_mistakes(self, shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
        q = np.ones(shape, np.float32)
        with pytest.raises(InputError, match="^" + message):
            prepare(TINY, q, q, q, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"causal": "no"}, "causal must be True or False, not 'no'"),
            ({"q_start": 1.5, "causal": True}, "q_start must be an integer, not 1.5"),
            ({"scale": "x"}, "scale must be a number, not 'x'"),
        ],
    )
    def test_wrong_kinds(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=f"^{message}$"):
            prepare(TINY, *tensors(1, 4, 8), **options)

    def test_a_selection(self) -> None:
        q, k, v = tensors(2, 4, 40, 8, heads=2)
        mask = np.random.default_rng(0).random((4, 3, 3)) < 0.5
        prepared = prepare(TINY, q, k, v, block_mask=mask)
        assert prepared.call.block_mask is not None
        assert (prepared.call.block_mask == np.concatenate([mask, mask])).all()
        operands = prepared.operands
        wanted = attention(*operands.floats(), block_mask=mask, block=16)
        assert compare(operands.dequantize(prepared.expected), wanted).rms_relative < 1e-3
        assert prepare(TINY, q, k, v).call.block_mask is None

    def test_a_chip_without_selections(self) -> None:
        plain = TINY.replace(sparse=False, index="dense")
        message = r"^u280-tiny takes no block_mask; describe a chip with sparse = true$"
        with pytest.raises(InputError, match=message):
            prepare(plain, *tensors(1, 4, 8), block_mask=[[True]])

    def test_query_bits(self) -> None:
        q, k, v = tensors(1, 4, 8)
        narrow = prepare(TINY, q, k, v, query_bits=3)
        assert narrow.call.query_bits == 3
        assert np.abs(narrow.call.q).max() == 3
        assert np.array_equal(narrow.call.k, prepare(TINY, q, k, v).call.k)
        assert prepare(TINY, q, k, v).call.query_bits == 8

    def test_too_many_keys(self) -> None:
        q, k = np.ones((1, 4, 8)), np.ones((1, 2000, 8))
        with pytest.raises(InputError, match=r"^u280-tiny takes keys \(.* up to 1024, not 2000; "):
            prepare(TINY, q, k, k)
