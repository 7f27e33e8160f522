"""Which multipliers to fill a card with: peak throughput by DSP slices, by LUTs, and by both."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import Any

from ...rtl.kernel.kernel import Kernel
from ...rtl.lane.lane import Lane
from ...tb.errors import InputError
from ..chip import default_data_width, default_p_width, read_chip
from ..synthesis.target import CARD, USER
from . import tree_of
from .model import Node, total_counts

__all__ = ["PRECISIONS", "SHARE", "Split", "budget_of", "find_splits", "tabulate_splits"]

PRECISIONS = ((8, 8), (8, 4), (4, 8), (4, 4))
"""Bits of streaming and stationary operands."""

SHARE = 0.8
"""Part of a resource that a design may take and still be placed and routed."""

KINDS = ("dsp", "lut")
_BAR = 40  # characters of the longest bar
_MOST = 1000  # lanes of one kind, whatever the budget is


@dataclass(frozen=True)
class Split:
    """The lanes that give the highest peak, of those kinds that are allowed.

    Members
    -------
    of : str
        ``lanes``, with everything in them and the kernel around them, or ``arrays``, the matrix
        units of lanes alone.
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
        When the clock is not a number above 0.
    """
    if not 0 < clock_mhz < inf:
        raise InputError(
            f"--clock must be a finite number above 0 MHz, not {clock_mhz:g}; take that of a chip"
        )
    description = read_chip(chip)
    size = description.size
    splits = []
    nodes: dict[Any, Node] = {}
    for stream, stationary in precisions:
        changes = {
            "stream_width": stream,
            "stationary_width": stationary,
            "p_width": default_p_width(stream),
        }
        parameters = {**description.lane_parameters, **changes}
        data_width = default_data_width(size, stream, stationary)
        around = partial(
            _around,
            {**description.kernel_parameters, **changes, "data_width": data_width},
            nodes,
        )
        whole = {kind: tree_of(Lane(matrix=kind, **parameters), nodes) for kind in KINDS}
        arrays = {kind: dict(tree.parts)["matrix"] for kind, tree in whole.items()}
        ultra = Lane(matrix="dsp", memory="ultra", **parameters)
        for of, trees, other, outside_of in (
            ("lanes", whole, tree_of(ultra, nodes), around),
            ("arrays", arrays, arrays["dsp"], _nothing),
        ):
            costs = {kind: total_counts(tree) for kind, tree in trees.items()}
            spared = total_counts(other)
            spared.subtract(costs["dsp"])
            for ways, kinds in (("dsp", ("dsp",)), ("lut", ("lut",)), ("both", KINDS)):
                mix, n_ultra = _fill(
                    {kind: costs[kind] for kind in kinds}, spared, budget, outside_of
                )
                outside = outside_of(sum(mix.values()))
                counts = {
                    column: sum(n * costs[kind][column] for kind, n in mix.items())
                    + n_ultra * spared[column]
                    + outside[column]
                    for column in budget
                }
                binds = max(budget, key=lambda column: counts[column] / budget[column])
                tops = 2 * size**2 * sum(mix.values()) * clock_mhz / 1e6
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


def _around(parameters: Mapping[str, Any], nodes: dict[Any, Node], n: int) -> Mapping[str, float]:
    """Return what a kernel has around ``n`` lanes, as an estimate of the chip counts it."""
    if not n:
        return _nothing(n)
    kernel = tree_of(Kernel(**{**parameters, "lanes": ("dsp",) * n}), nodes)
    counts = total_counts(kernel)
    lane = total_counts(_part(kernel, "engine", "core", "lane_0"))
    return Counter({column: counts[column] - n * lane[column] for column in counts})


def _part(node: Node, *path: str) -> Node:
    """Return what is inside, by the names of the instances on the way."""
    for name in path:
        node = dict(node.parts)[name]
    return node


def _nothing(n: int) -> Mapping[str, float]:
    return Counter()


def _fill(
    costs: Mapping[str, Mapping[str, float]],
    spared: Mapping[str, float],
    budget: Mapping[str, float],
    outside_of: Callable[[int], Mapping[str, float]],
) -> tuple[dict[str, int], int]:
    """Return the most lanes that fit, and in how many ``spared`` must be added; fewest LUTs first.

    ``spared`` is what UltraRAM instead of block RAM changes in a lane of any kind, and
    ``outside_of`` says what is around so many lanes.
    """

    def best(n: int, outside: Mapping[str, float]) -> tuple[dict[str, int], int] | None:
        """Return the mix of ``n`` lanes with the fewest LUTs, if any fits."""
        fitting = []
        for numbers in [(n,)] if len(kinds) == 1 else [(k, n - k) for k in range(n + 1)]:
            mix = dict(zip(kinds, numbers, strict=True))
            total = {
                column: sum(k * costs[kind][column] for kind, k in mix.items())
                + outside.get(column, 0)
                for column in budget
            }
            n_ultra = _ultra(total, spared, budget, n)
            if n_ultra is not None:
                fitting.append((total["lut"], mix, n_ultra))
        return min(fitting, key=lambda found: found[0])[1:] if fitting else None

    kinds = tuple(costs)
    # What a kernel takes needs an elaboration: it is asked for only where its lanes would fit.
    most = bisect_left(range(1, _MOST + 1), True, key=lambda n: best(n, {}) is None)
    for n in range(most, 0, -1):
        if (found := best(n, outside_of(n))) is not None:
            return found
    return dict.fromkeys(kinds, 0), 0


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
