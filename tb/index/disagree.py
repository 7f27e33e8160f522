"""Where the coverage unit and float64 take different things, and how little decides about each."""

from dataclasses import dataclass

import numpy as np

from .coverage import Cover, CoverageSelection
from .head import Verdict
from .pool import Reals
from .selector import Selection

__all__ = ["Disagreement", "disagreements"]


@dataclass(frozen=True)
class Disagreement:
    """A thing that one of them takes, and the other one does not.

    Members
    -------
    kind : str
        ``column`` or ``diagonal`` of blocks, ``pair`` of blocks; or ``pattern``: one of them finds
        the head query-aware, and selects by other things from there on.
    place : int, tuple of int or None
        Number of the column, of the diagonal (0 is the main one), query block and KV block of the
        pair; a pattern has none.
    kept : bool
        Whether the hardware takes it, or finds the head query-aware.
    margin : float
        What decides in float64, as a share of the attention: by how much the thing is larger or
        smaller than those on the other side, or what is larger than it is away from gamma,
        whichever is less. Of a pattern how far the divergence is from tau.
    """

    kind: str
    place: int | tuple[int, int] | None
    kept: bool
    margin: float


def disagreements(
    verdict: Verdict, reference: CoverageSelection, tau: float
) -> tuple[Disagreement, ...]:
    """Return what a head's verdict and the same rule in float64 do not agree about.

    Parameters
    ----------
    verdict : Verdict
        The hardware's.
    reference : CoverageSelection
        Float64's, on the numbers that the integers stand for.
    tau : float
        Divergence below which a head is query-aware.
    """
    if verdict.is_aware != (reference.pairs is not None):
        margin = abs(reference.divergence - tau)
        return (Disagreement("pattern", None, verdict.is_aware, margin),)
    found = [
        Disagreement(kind, place, bool(taken.taken[place]), float(margin))
        for kind, taken, cover in (
            ("column", verdict.columns, reference.columns),
            ("diagonal", verdict.diagonals, reference.diagonals),
        )
        for place, margin in _differing(taken, cover)
    ]
    if verdict.pairs is not None and reference.pairs is not None:
        rows, columns = np.tril_indices(len(verdict.columns.taken))
        found += [
            Disagreement(
                "pair",
                (int(rows[place]), int(columns[place])),
                bool(verdict.pairs.taken[place]),
                margin,
            )
            for place, margin in _differing(verdict.pairs, reference.pairs)
        ]
    return tuple(found)


def _differing(selection: Selection, cover: Cover) -> list[tuple[int, float]]:
    """Return the numbers of things that only one of them takes, and their margins."""
    places = np.flatnonzero(selection.taken != cover.taken)
    return list(zip(places.tolist(), _margins(cover)[places].tolist(), strict=True))


def _margins(cover: Cover) -> Reals:
    """Return how far each thing is from being decided otherwise, as a share of all mass."""
    share = cover.mass / (cover.mass.sum() or 1)
    competes = np.ones(len(share), bool)
    if cover.always is not None:
        competes[cover.always] = False
    least = share[competes & cover.taken].min(initial=np.inf)
    largest = share[~cover.taken].max(initial=-np.inf)
    by_size: Reals = np.where(cover.taken, share - largest, least - share)
    rank = np.where(competes, -share, -np.inf)
    order = np.argsort(rank, kind="stable")
    before = np.empty(len(share))  # share of what is larger
    before[order] = np.cumsum(share[order]) - share[order]
    if (before < cover.gamma).sum() != cover.taken.sum():
        return by_size  # a budget decides how many
    by_share: Reals = np.minimum(by_size, abs(before - cover.gamma))
    return by_share
