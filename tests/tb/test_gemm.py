"""The exact model of a product against float64, and how its parts are dealt out."""

import numpy as np
import pytest

from qkloom.rtl.core import Core
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.gemm import Product, exact_gemm, program, schedule

NUMERICS = Numerics(size=8, head_dim=16, tokens=1024)


def product_of(m, k, n, *, head_dim=16, side=1, shift=12, seed=0):
    rng = np.random.default_rng(seed)
    x, w = (rng.integers(-128, 128, (a, k)).astype(np.int8) for a in (m, n))
    groups = n // head_dim
    factor = rng.integers(1 << 16, 1 << 17, groups), np.full(groups, shift)
    return Product(x, w, *factor, head_dim=head_dim, side=side)


@pytest.mark.parametrize("shift", [0, 8, 11, 13, 18])
def test_outputs_are_those_of_float64_rounded_and_clipped(shift):
    """From factors that clip everything to such that leave nothing."""
    product = product_of(40, 256, 64, shift=shift)
    factor = np.repeat(product.mantissa / 2.0 ** (product.shift + 13), product.head_dim)
    exact = product.x.astype(np.float64) @ product.w.T.astype(np.float64) * factor
    error = np.abs(exact_gemm(product, NUMERICS) - np.clip(exact, -128, 127))
    # Half a place, and what rounding to 2^-16 first may add; an aligned sum drops below 2^-2 there.
    assert error.max() <= 0.5 + 2**-14


def test_outputs_round_ties_up():
    x, w = np.array([[1], [3], [-1], [-3]], np.int8), np.array([[1]], np.int8)
    product = Product(x, w, np.array([1 << 16]), np.array([4]), head_dim=1)
    numerics = Numerics(size=1, head_dim=1, tokens=1024)
    assert exact_gemm(product, numerics).tolist() == [[1], [2], [0], [-1]]


def test_a_round_has_groups_side_by_side_then_row_blocks():
    product = product_of(20, 16, 64, side=2)
    rounds = schedule(product, lanes=4, slots=2, block_rows=16)
    places = [[(part.group, part.first, part.rows) for part in parts] for parts in rounds]
    assert places == [
        [(0, 0, 16), (1, 0, 16), (0, 16, 4), (1, 16, 4)],
        [(2, 0, 16), (3, 0, 16), (2, 16, 4), (3, 16, 4)],
    ]
    assert [[part.slot for part in parts] for parts in rounds] == [[0] * 4, [1] * 4]
    assert [part.lane for part in rounds[0]] == [0, 1, 2, 3]


def test_a_group_must_fit_a_block():
    shape = {"size": 4, "block_rows": 4, "head_dim": 8, "tokens": 64, "p_width": 14}
    core = Core(
        lanes=("plain",), **shape, segments=8, fraction=8, row_width=2, out_width=1, gemm=True
    )
    with pytest.raises(ValueError, match=r"^Head_dim must be at most a block of 4, not 8$"):
        program(core, product_of(4, 8, 8, head_dim=8), max_cycles=1)
