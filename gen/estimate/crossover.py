"""Which multipliers to fill a card with: peak throughput by DSP slices, by LUTs, and by both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    tops : float
        Peak of integer operations, 10^12 a second: two per multiplier and cycle.
    binds : str
        The resource of which one more would take too much.
    counts : mapping
        What all of them take together.
    """

    of: str
    stream: int
    stationary: int
    ways: str
    lanes: Mapping[str, int]
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
    *, clock_mhz: float, budget: Mapping[str, float], chip: str = "u280"
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
    for stream, stationary in PRECISIONS:
        changes = {
            "stream_width": stream,
            "stationary_width": stationary,
            "p_width": _P_WIDTH[stream],
        }
        lanes = {kind: Lane(matrix=kind, **{**parameters, **changes}) for kind in KINDS}
        whole = {kind: tree_of(lane) for kind, lane in lanes.items()}
        arrays = {kind: dict(tree.parts)["matrix"] for kind, tree in whole.items()}
        for of, trees in (("lanes", whole), ("arrays", arrays)):
            costs = {kind: total_counts(tree) for kind, tree in trees.items()}
            for ways, kinds in (("dsp", ("dsp",)), ("lut", ("lut",)), ("both", KINDS)):
                mix, binds = _fill({kind: costs[kind] for kind in kinds}, budget)
                counts = {
                    column: sum(n * costs[kind][column] for kind, n in mix.items())
                    for column in budget
                }
                tops = 2 * parameters["size"] ** 2 * sum(mix.values()) * clock_mhz / 1e6
                splits.append(Split(of, stream, stationary, ways, mix, tops, binds, counts))
    return splits


def tabulate_splits(splits: Sequence[Split]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a row for each precision, and a bar."""
    headers = ["", "operands", "by DSP", "by LUT", "both", "DSP + LUT", "full", "TOPS, both"]
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
                both.binds.upper(),
                "#" * round(_BAR * both.tops / highest) if highest else "",
            ]
        )
    return headers, rows


def _fill(
    costs: Mapping[str, Mapping[str, float]], budget: Mapping[str, float]
) -> tuple[dict[str, int], str]:
    """Return the most lanes that fit, and what then is full; of equals those of fewest LUTs."""
    first, *others = costs
    best: tuple[float, float, dict[str, int], str] | None = None
    taken = 0
    while True:
        left = {name: n - taken * costs[first][name] for name, n in budget.items()}
        if min(left.values()) < 0:
            break
        lanes, binds = {first: taken}, _scarcest(costs[first], left)
        for other in others:
            room = {name: n / costs[other][name] for name, n in left.items() if costs[other][name]}
            binds = min(room, key=lambda name: room[name])
            lanes[other] = int(room[binds])
        luts = sum(n * costs[kind]["lut"] for kind, n in lanes.items())
        rank = (sum(lanes.values()), -luts)
        if best is None or rank > best[:2]:
            best = *rank, lanes, binds
        taken += 1
    assert best is not None  # no lanes at all always fit
    return best[2], best[3]


def _scarcest(cost: Mapping[str, float], left: Mapping[str, float]) -> str:
    room = {name: n / cost[name] for name, n in left.items() if cost[name]}
    return min(room, key=lambda name: room[name])
