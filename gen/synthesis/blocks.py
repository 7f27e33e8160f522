"""The table by block: what of a design is worth a line."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .netlist import Cell, Module, Netlist
from .target import Target

__all__ = ["REST", "Block", "find_blocks"]

REST = "rest"
"""Name of the line that adds up what has no line of its own."""

# A block has a line when this share of the design is in it, and lines of its parts when it is
# large: of the cells, or of any column. So many levels are opened, listed ones not counted.
_SHOWN, _OPENED, _LEVELS = 0.02, 0.25, 5


@dataclass(frozen=True)
class Block:
    """A line: equal instances on one level, or what is left there.

    Members
    -------
    path : str
        Names of the instances around it and its own, as ``lane_0.matrix``.
    name : str
        The last of these, as ``lane_0..11`` if there are more.
    module : str
        What it is an instance of; empty for the rest.
    n : int
        Instances: here, times those of what is around it.
    depth : int
        0 for a part of the top, 1 for a part of that.
    counts : mapping
        Columns of all instances together.
    instances : tuple of str
        Paths of the instances, as far as they are in the first instance of what is around it.
    """

    path: str
    name: str
    module: str
    n: int
    depth: int
    counts: Mapping[str, float]
    instances: tuple[str, ...] = ()


def find_blocks(
    netlist: Netlist, target: Target, listed: Collection[str] = frozenset()
) -> list[Block]:
    """Return the lines of a design, parts below what they are part of.

    Parameters
    ----------
    netlist : Netlist
        The design.
    target : Target
        What its cells cost.
    listed : collection of str
        Paths of instances of which every part has a line, however small; empty for the top.
    """
    top = netlist.modules[netlist.top]
    whole = target.count(netlist.cells[netlist.top])
    return list(_blocks(netlist, target, listed, top, whole, "", 1, 0, _LEVELS))


def _blocks(
    netlist: Netlist,
    target: Target,
    listed: Collection[str],
    module: Module,
    whole: Mapping[str, float],
    path: str,
    n: int,
    depth: int,
    levels: int,
) -> Iterator[Block]:
    is_listed = path.removesuffix(".") in listed
    levels -= not is_listed
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(module.cells, key=_natural):
        if cell.type in netlist.modules:
            groups.setdefault(cell.type, []).append(cell)
    rest = Counter({kind: n * k for kind, k in netlist.cells[module.name].items()})
    shown = []
    for kind, cells in groups.items():
        inside = Counter({c: n * len(cells) * k for c, k in netlist.cells[kind].items()})
        counts = target.count(inside)
        if _share(counts, whole) >= _SHOWN or (is_listed and any(counts.values())):
            shown.append((counts, kind, cells))
            rest -= inside
    shown.sort(key=lambda group: -_share(group[0], whole))
    if not shown and depth:
        return  # one line says it all
    for counts, kind, cells in shown:
        first = f"{path}{cells[0].name}"
        names = tuple(f"{path}{cell.name}" for cell in cells)
        yield Block(first, _joined(cells), kind, n * len(cells), depth, counts, names)
        if first in listed or (levels and _share(counts, whole) >= _OPENED):
            inner = netlist.modules[kind]
            yield from _blocks(
                netlist,
                target,
                listed,
                inner,
                whole,
                f"{first}.",
                n * len(cells),
                depth + 1,
                levels,
            )
    if any((left := target.count(rest)).values()):
        yield Block(f"{path}{REST}", REST, "", n, depth, left)


def _share(counts: Mapping[str, float], whole: Mapping[str, float]) -> float:
    """Return the largest share of the whole, in any column."""
    return max((counts[name] / total for name, total in whole.items() if total), default=0.0)


def _joined(cells: list[Cell]) -> str:
    """Name instances together: ``lane_0..11``."""
    first, last = cells[0].name, cells[-1].name
    if len(cells) == 1:
        return first
    return f"{first}..{last.removeprefix(first.rstrip('0123456789_') + '_')}"


def _natural(cell: Cell) -> list[tuple[int, str]]:
    """Order ``lane_10`` after ``lane_9``."""
    words = re.split(r"(\d+)", cell.name)
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words]
