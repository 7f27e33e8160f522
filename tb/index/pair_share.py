"""Exact model of :mod:`qkloom.rtl.index.pair_share`: shares of pairs in the attention of a row."""

from ...rtl.formats import ceil_log2
from ...rtl.index.numerics import IndexNumerics
from ..formats import Ints
from .exp2 import exp2
from .row_sums import RowSum

__all__ = ["row_shares"]


def row_shares(x: Ints, row: RowSum, *, blocks: int, fraction: int, exp_fraction: int) -> Ints:
    """Return the share of each score of (rows, n), in units of ``2**-(30 - ceil_log2(blocks))``."""
    power = exp2(row.maximum[:, None] - x, fraction=fraction, exp_fraction=exp_fraction)
    # A multiplier takes only so many bits of a power.
    dropped = exp_fraction + 1 - IndexNumerics.product_width
    amount = row.e + exp_fraction + 17 - (30 - ceil_log2(blocks)) - dropped
    shares: Ints = (power >> dropped) * row.r[:, None] >> amount[:, None]
    return shares
