"""Exact model of :mod:`qkloom.rtl.index.topk`: the best candidates, worst first."""

from typing import Any

import numpy as np

__all__ = ["choose_exactly"]


def choose_exactly(scores: Any, forced: Any, k: int) -> list[int]:
    """Return up to ``k`` blocks: forced ones first, by score, then the lower; in reverse order."""
    order = np.lexsort((-np.asarray(scores), ~np.asarray(forced, bool)))
    chosen: list[int] = order[:k][::-1].tolist()
    return chosen
