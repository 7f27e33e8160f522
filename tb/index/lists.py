"""Exact model of :mod:`qkloom.rtl.index.lists`: the numbers of a mask's bits."""

from typing import Any

import numpy as np

from ..attention import Bools
from ..packing import Words, pack

__all__ = ["list_words"]


def list_words(shape: Any, rows: Bools) -> Words:
    """Return the lists of rows of a mask, each with its end, as payloads of ``shape``."""
    items = [(int(block), 0) for row in rows for block in (*np.flatnonzero(row), -1)]
    blocks = np.array([max(block, 0) for block, _ in items])
    return pack(shape, block=blocks, end=[block < 0 for block, _ in items])
