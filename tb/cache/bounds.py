"""What a list of visits costs without this cache, with the usual one, and at best."""

from collections import OrderedDict

import numpy as np

from ..attention import Bools
from .native import lru_hits, native_library
from .replay import replay
from .rules import CacheRules
from .visits import Visits

__all__ = ["belady", "lru"]

_SMALL = 1000
"""Visits that need no compiled library."""


def belady(visits: Visits, slots: int) -> Bools:
    """Return which visits fetch their block at least: no rule at all fetches fewer.

    Belady's choice for blocks of one size that need not be kept: of those that are held and the one
    that comes, the one whose next visit is last is not kept. Visits of a window are in the order of
    blocks, and so the next visit is the next window, and in it the block. It is what the rule
    ``next-use`` does that sees all windows, pins nothing, and has one tier.
    """
    if not slots:
        return np.ones(len(visits), bool)
    return replay(CacheRules("next-use", cold=slots, lookahead=1, horizon=None), visits).fetched


def lru(visits: Visits, slots: int) -> Bools:
    """Return which visits fetch their block if the one that was visited last is always kept."""
    if not slots:
        return np.ones(len(visits), bool)
    library = native_library() if len(visits) > _SMALL else None
    if library is not None:
        return ~lru_hits(library, slots, visits)
    held: OrderedDict[int, None] = OrderedDict()
    fetched = np.zeros(len(visits), bool)
    for number, block in enumerate(visits.block.tolist()):
        fetched[number] = block not in held
        held[block] = None
        held.move_to_end(block)
        if len(held) > slots:
            held.popitem(last=False)
    return fetched
