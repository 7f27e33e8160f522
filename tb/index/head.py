"""Exact model of :mod:`qkloom.rtl.index.head`: what a head attends to, from its masses."""

from dataclasses import dataclass

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ..attention import Bools
from ..formats import Ints
from .code import encode
from .divergence import divergence
from .masses import BlockMasses
from .selector import Selection, select

__all__ = ["Ask", "Verdict", "select_head"]


@dataclass(frozen=True)
class Ask:
    """What is asked of a head; members as of :func:`qkloom.rtl.index.head.head_ask_layout`."""

    mantissa: int
    shift: int
    gamma: int
    limit: int
    least: int
    most: int


@dataclass(frozen=True)
class Verdict:
    """What is selected.

    Members
    -------
    is_aware : bool
        Whether pairs of blocks are selected.
    divergence : int
        In units of ``2**-divergence_fraction``.
    columns, diagonals : Selection
        Of block columns, and of block diagonals, the main one first.
    pairs : Selection or None
        Of pairs (query block, KV block), row by row, none above the diagonal.
    """

    is_aware: bool
    divergence: int
    columns: Selection
    diagonals: Selection
    pairs: Selection | None

    @property
    def mask(self) -> Bools:
        """Which pairs of blocks are taken, (query blocks, KV blocks)."""
        n = len(self.columns.taken)
        row, column = np.indices((n, n))
        causal = column <= row
        taken = self.columns.taken[column] | self.diagonals.taken[np.maximum(row - column, 0)]
        if self.pairs is not None:
            taken[causal] |= self.pairs.taken
        mask: Bools = taken & causal
        return mask


def select_head(
    masses: BlockMasses, ask: Ask, numerics: IndexNumerics, *, pairs: Ints | None = None
) -> Verdict:
    """Return what is selected; ``pairs`` are their shares, causal ones row by row.

    Without them no head is query-aware.
    """
    found = divergence(masses.vertical, masses.mean, ask.mantissa, ask.shift, numerics)
    is_aware = pairs is not None and found < ask.limit and ask.gamma < 1 << 16
    gamma = 0 if is_aware else ask.gamma
    first = np.arange(len(masses.vertical)) == 0
    columns, diagonals = (
        select(
            encode(mass, fraction=numerics.code_fraction),
            first,
            gamma=gamma,
            least=ask.least,
            most=ask.most,
        )
        for mass in (masses.vertical, masses.slash)
    )
    of_pairs = None
    if is_aware:
        assert pairs is not None
        of_pairs = select(
            encode(pairs, fraction=numerics.code_fraction),
            np.zeros(len(pairs), bool),
            gamma=ask.gamma,
            least=0,
            most=len(pairs),
        )
    return Verdict(is_aware, found, columns, diagonals, of_pairs)
