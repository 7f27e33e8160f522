"""The fixed choice of KV blocks that others are compared with: the first ones and the latest."""

import numpy as np

from ..attention import Bools
from ..errors import InputError

__all__ = ["window"]


def window(n: int, *, init: int = 1, local: int = 16) -> Bools:
    """Return the pairs of blocks (query blocks, KV blocks), whatever queries and keys are.

    Parameters
    ----------
    n : int
        Blocks of the context.
    init, local : int
        First blocks, and latest ones beside the query's own; by default, of 128 tokens, as many
        tokens as SparDA always takes.

    Raises
    ------
    InputError
        When a number is negative.
    """
    if n < 0 or init < 0 or local < 0:
        raise InputError(f"n, init and local must be 0 or more, not {n}, {init} and {local}")
    row, column = np.indices((n, n))
    mask: Bools = (column <= row) & ((column < init) | (row - column <= local))
    return mask
