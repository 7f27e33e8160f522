"""Which multipliers to fill a card with: peak throughput by DSP slices, by LUTs, and by both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

from ...rtl.lane.lane import Lane
from ...tb.errors import InputError
from ..chip import read_chip
from ..synthesis.target import CARD, USER
from . import tree_of
from .model import total_counts

__all__ = ["PRECISIONS", "SHARE", "Split", "budget_of", "find_splits", "tabulate_splits"]

PRECISIONS = ((8, 8), (8, 4), (4, 8), (4, 4))
"""Bits of streaming and stationary operands."""

SHARE = 0.8
"""Part of a resource that a design may take and still be placed and routed."""

KINDS = ("dsp", "lut")
_BAR = 40  # characters of the longest bar
_MOST = 1000  # lanes of one kind, whatever the budget is
# Widths of probabilities that make two digits, as most accurate chips have them.
_P_WIDTH = {8: 14, 4: 7}


@dataclass(frozen=True)
class Split:
    """The lanes that give the highest peak, of those kinds that are allowed.

    Members
    -------
    of : str
        ``lanes``, with everything in them, or ``arrays``, their matrix units alone.
    stream, stationary : int
        Bits of the operands.
    ways : str
        ``dsp``, ``lut`` or ``both``.
    lanes : mapping
        How many, by kind.
    ultra : int
        How many of these sum up in UltraRAM, as block RAM would not do.
    tops : float
        Peak of integer operations, 10^12 a second: two per multiplier and cycle.
    binds : str
        The resource that is the fullest.
    counts : mapping
        What all of them take together.
    """

    of: str
    stream: int
    stationary: int
    ways: str
    lanes: Mapping[str, int]
    ultra: int
    tops: float
    binds: str
    counts: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return a plain table."""
        return {
            "of": self.of,
            "precision": f"{self.stream}x{self.stationary}",
            "by": self.ways,
            "lanes": dict(self.lanes),
            "lanes_with_uram": self.ultra,
            "peak_tops": round(self.tops, 3),
            "binds": self.binds,
            "counts": dict(self.counts),
        }


def budget_of(luts: int | None) -> dict[str, float]:
    """Return what lanes may take: of the user's part where AMD states it, else of the card.

    Raises
    ------
    InputError
        When ``luts`` is not positive.
    """
    if luts is not None and luts < 1:
        raise InputError(
            f"--luts must be a positive integer, not {luts}; leave it out for the card's"
        )
    budget = {name: SHARE * n for name, n in {**CARD, **USER}.items()}
    return budget if luts is None else {**budget, "lut": float(luts)}


def find_splits(
    *,
    clock_mhz: float,
    budget: Mapping[str, float],
    chip: str = "u280",
    precisions: Sequence[tuple[int, int]] = PRECISIONS,
) -> list[Split]:
    """Return the best mix for each precision: by DSP slices, by LUTs, and by both.

    Lanes are those of ``chip`` with operands of other widths.

    Raises
    ------
    InputError
        When the clock is not above 0.
    """
    if not clock_mhz > 0:
        raise InputError(f"--clock must be above 0 MHz, not {clock_mhz:g}")
    parameters = read_chip(chip).lane_parameters
    splits = []
    for stream, stationary in precisions:
        changes = {
            "stream_width": stream,
            "stationary_width": stationary,
            "p_width": _P_WIDTH[stream],
        }
        lanes = {kind: Lane(matrix=kind, **{**parameters, **changes}) for kind in KINDS}
        whole = {kind: tree_of(lane) for kind, lane in lanes.items()}
        arrays = {kind: dict(tree.parts)["matrix"] for kind, tree in whole.items()}
        with_uram = tree_of(Lane(matrix="dsp", memory="ultra", **{**parameters, **changes}))
        for of, trees, other in (("lanes", whole, with_uram), ("arrays", arrays, arrays["dsp"])):
            costs = {kind: total_counts(tree) for kind, tree in trees.items()}
            spared = total_counts(other)
            spared.subtract(costs["dsp"])
            for ways, kinds in (("dsp", ("dsp",)), ("lut", ("lut",)), ("both", KINDS)):
                mix, n_ultra = _fill({kind: costs[kind] for kind in kinds}, spared, budget)
                counts = {
                    column: sum(n * costs[kind][column] for kind, n in mix.items())
                    + n_ultra * spared[column]
                    for column in budget
                }
                binds = max(budget, key=lambda column: counts[column] / budget[column])
                tops = 2 * parameters["size"] ** 2 * sum(mix.values()) * clock_mhz / 1e6
                splits.append(
                    Split(of, stream, stationary, ways, mix, n_ultra, tops, binds, counts)
                )
    return splits


def tabulate_splits(splits: Sequence[Split]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a row for each precision, and a bar."""
    headers = [
        "",
        "operands",
        "by DSP",
        "by LUT",
        "both",
        "DSP + LUT",
        "with URAM",
        "fullest",
        "both",
    ]
    highest = max(split.tops for split in splits)
    rows = []
    for of, stream, stationary in dict.fromkeys((s.of, s.stream, s.stationary) for s in splits):
        ways = {
            split.ways: split
            for split in splits
            if (split.of, split.stream, split.stationary) == (of, stream, stationary)
        }
        both = ways["both"]
        rows.append(
            [
                of,
                f"{stream}x{stationary}",
                *(f"{ways[way].tops:.1f}" for way in ("dsp", "lut", "both")),
                " + ".join(str(both.lanes[kind]) for kind in KINDS),
                str(both.ultra) if of == "lanes" else "-",
                both.binds.upper(),
                "#" * round(_BAR * both.tops / highest) if highest else "",
            ]
        )
    return headers, rows


def _fill(
    costs: Mapping[str, Mapping[str, float]],
    spared: Mapping[str, float],
    budget: Mapping[str, float],
) -> tuple[dict[str, int], int]:
    """Return the most lanes that fit, and in how many ``spared`` must be added; fewest LUTs first.

    ``spared`` is what UltraRAM instead of block RAM changes in a lane of any kind.
    """
    kinds = tuple(costs)
    best: tuple[float, float] = -1.0, 0.0
    chosen: tuple[dict[str, int], int] = dict.fromkeys(kinds, 0), 0
    most = [_fits(costs[kind], spared, budget) for kind in kinds]
    for numbers in product(*(range(n + 1) for n in most)):
        n = sum(numbers)
        if n < best[0]:
            continue
        total = {
            column: sum(k * costs[kind][column] for k, kind in zip(numbers, kinds, strict=True))
            for column in budget
        }
        if (n, -total["lut"]) <= best:
            continue
        n_ultra = _ultra(total, spared, budget, n)
        if n_ultra is not None:
            best = n, -total["lut"]
            chosen = dict(zip(kinds, numbers, strict=True)), n_ultra
    return chosen


def _ultra(
    total: Mapping[str, float],
    spared: Mapping[str, float],
    budget: Mapping[str, float],
    n: int,
) -> int | None:
    """Return in how many of ``n`` lanes block RAM must be spared, if they fit then."""
    needed = 0
    for column, most in budget.items():
        if total[column] > most:
            if spared.get(column, 0) >= 0:
                return None
            needed = max(needed, ceil((total[column] - most) / -spared[column]))
    fits = all(
        total[column] + needed * spared.get(column, 0) <= most for column, most in budget.items()
    )
    return needed if needed <= n and fits else None


def _fits(
    cost: Mapping[str, float], spared: Mapping[str, float], budget: Mapping[str, float]
) -> int:
    """Return the most lanes of one kind."""
    n = 0
    while n < _MOST:
        total = {column: (n + 1) * cost[column] for column in budget}
        if _ultra(total, spared, budget, n + 1) is None:
            break
        n += 1
    return n
