"""Selections as users give them, and how much of attention they keep."""

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.selection import as_block_mask, density
from qkloom.tb.tensors import Shape

SHAPE = Shape(batch=2, heads=3, kv_heads=1, n_q=9, n_kv=20, head_dim=4)
BLOCK = 4  # 3 blocks of queries, 5 of keys


class TestAsBlockMask:
    @pytest.mark.parametrize("shape", [(2, 3, 3, 5), (3, 3, 5), (3, 5), (2, 1, 3, 5), (1, 3, 5)])
    def test_broadcasts(self, shape):
        mask = np.random.default_rng(0).random(shape) < 0.5
        found = as_block_mask(mask, BLOCK, SHAPE)
        assert (found == np.broadcast_to(mask, (2, 3, 3, 5)).reshape(6, 3, 5)).all()

    def test_lists(self):
        assert as_block_mask([[True] * 5] * 3, BLOCK, SHAPE).all()

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.ones((3, 5)), r"^block_mask must be an array of bool, not of float64; True selec"),
            ([[True], [True, False]], r"^block_mask must be an array of bool, not of object; True"),
            (
                np.ones((3, 4), bool),
                r"^block_mask must be \(2, 3, 3, 5\), or .* of 4 queries and .* not \(3, 4\)$",
            ),
            (np.ones((2, 3, 5), bool), r"^block_mask must be \(2, 3, 3, 5\), .* not \(2, 3, 5\)$"),
            (np.ones((1, 2, 3, 3, 5), bool), r"^block_mask must be .* not \(1, 2, 3, 3, 5\)$"),
            (True, r"^block_mask must be .* not \(\)$"),
        ],
    )
    def test_refused(self, mask, message):
        with pytest.raises(InputError, match=message):
            as_block_mask(mask, BLOCK, SHAPE)

    def test_without_batch(self):
        with pytest.raises(InputError, match=r"^block_mask must be \(3, 3, 5\), or"):
            as_block_mask(np.ones((4, 4), bool), BLOCK, SHAPE._replace(batch=1))


class TestDensity:
    def test_by_hand(self):
        mask = np.zeros((3, 5), bool)
        assert density(mask, BLOCK, SHAPE) == 0
        mask[2, 0] = True  # one query, four keys
        assert density(mask, BLOCK, SHAPE) == pytest.approx(4 / (9 * 20))
        # Causal, from -1 on: the queries see 0, 1, 2, ... 8 keys, the last one four of block 0.
        found = density(mask, BLOCK, SHAPE, causal=True, q_start=-1)
        assert found == pytest.approx(4 / sum(range(9)))

    @pytest.mark.parametrize("q_start", [-30, -3, 0, 7, 40])
    def test_counts_pairs(self, q_start):
        mask = np.random.default_rng(1).random((2, 3, 3, 5)) < 0.5
        query, key = np.arange(9)[:, None], np.arange(20)
        visible = key <= q_start + query
        kept = (mask[:, :, query // 4, key // 4] & visible).sum()
        total = 6 * visible.sum()
        found = density(mask, BLOCK, SHAPE, causal=True, q_start=q_start)
        assert found == pytest.approx(kept / total if total else 1)

    def test_without_a_selection(self):
        assert density(None, BLOCK, SHAPE) == 1
