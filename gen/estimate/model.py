"""The model: what each distinct module of a design costs, without synthesis.

Memories, products, registers, shift registers and primitives are counted by rules. What is left,
the logic that Yosys makes of operators, is a sum over bits of operators with fitted factors: of the
component's class where points of the fit had it, else of all classes together.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape, unsigned

from ...rtl.component import Component, pass_over
from ...rtl.core import Core
from ...rtl.stream.turns import Turns
from ..emit import without_collector
from .content import Content, find_content
from .rules import storage_counts
from .structure import structure_counts, structure_of

__all__ = [
    "FEATURES",
    "FIT",
    "Fit",
    "Node",
    "build_tree",
    "features",
    "read_fit",
    "ruled_counts",
    "total_counts",
    "walk",
]

FIT = Path(__file__).parent / "fit.json"

_LOGIC = (
    "one", "add", "increment", "compare", "limit", "equal", "match", "and", "or", "reduce", "shift",
    "select", "mux", "choice", "table", "decision", "product", "register", "stored",
)  # fmt: skip

FEATURES: Mapping[str, tuple[str, ...]] = {
    "lut": _LOGIC,
    "lutram": ("copy",),
    "ff": ("one", "copy", "register"),
    "carry8": ("carry", "product", "choice"),
}
"""What the fitted part of each column may consist of: bits of operators, as
:class:`~qkloom.gen.estimate.content.Content` has them, and ``one`` and ``stored``, a constant and
the bits of a word of memory."""


@dataclass(frozen=True)
class Fit:
    """Fitted factors, and how far they are off.

    Members
    -------
    factors : mapping
        By class name, column and feature; those under the empty name are of all classes.
    n_points : int
        Points, those that were not fitted included.
    points, date : str
        Hash of their file, and the latest date of one.
    yosys : str
        Its version.
    errors : mapping
        By column: ``median`` and ``worst`` relative error of points that were not fitted.
    """

    factors: Mapping[str, Mapping[str, Mapping[str, float]]]
    n_points: int
    points: str
    date: str
    yosys: str
    errors: Mapping[str, Mapping[str, float]]

    def counts(self, name: str, bits: Mapping[str, float]) -> Counter[str]:
        """Return the fitted part of what a module of the class ``name`` costs."""
        factors = self.factors.get(name, self.factors[""])
        return Counter(
            {
                column: sum(factor * bits.get(feature, 0) for feature, factor in of.items())
                for column, of in factors.items()
            }
        )


@dataclass(frozen=True)
class Node:
    """A distinct module: its own cost, and its parts.

    Members
    -------
    name, kind : str
        Of the module, and of its class.
    own : Counter
        Columns, without those of its parts.
    parts : list of (str, Node)
        By the names of the instances.
    is_primitive : bool
        Whether it is built from cells of the target, so that nothing is fitted.
    """

    name: str
    kind: str
    own: Counter[str]
    parts: list[tuple[str, "Node"]]
    is_primitive: bool = False


@cache
def read_fit() -> Fit:
    """Return the fit that comes with the package."""
    return Fit(**json.loads(FIT.read_text()))


def features(content: Content) -> dict[str, float]:
    """Return the features of a module."""
    bits = {name: float(n) for name, n in content.operators.items()}
    bits["one"] = 1.0
    bits["stored"] = float(sum(memory.width for memory in content.memories))
    return bits


def ruled_counts(content: Content) -> Counter[str]:
    """Return what follows from rules."""
    operators = content.operators
    counts = Counter(
        {
            "ff": operators["register"],
            "lut": operators["line"],
            "lutram": operators["line"],
            "dsp": operators["dsp"],
        }
    )
    for memory in content.memories:
        counts.update(storage_counts(memory))
    return counts


def build_tree(component: Component, fit: Fit, nodes: dict[Any, Node] | None = None) -> Node:
    """Return a component's costs and those of everything in it, each distinct module once.

    Parameters
    ----------
    component : Component
        The design.
    fit : Fit
        The model.
    nodes : dict, optional
        Modules of other designs, which this one may share; its own are added.
    """
    nodes = {} if nodes is None else nodes

    def visit(component: Component) -> Node:
        key = type(component), tuple(component.parameters.items())
        if key in nodes:
            pass_over(component)
        else:
            nodes[key] = _node(component, fit, visit)
        return nodes[key]

    with without_collector():
        return visit(component)


def _content(component: Component) -> Content:
    """Return what is in a component; of a core, without looking at every lane."""
    if not isinstance(component, Core):
        return find_content(component)
    pass_over(component)
    lanes = component.parameters["lanes"]
    kinds = tuple(dict.fromkeys(lanes))
    small = _small_core(tuple({**component.parameters, "lanes": kinds}.items()))
    parts: list[tuple[str, Component]] = []
    for name, part in small.parts:
        stem, _, number = name.rpartition("_")
        if number.isdecimal():  # one of those that each lane has
            kind = kinds[int(number)]
            parts += [(f"{stem}_{k}", part) for k, lane in enumerate(lanes) if lane == kind]
        elif isinstance(part, Turns):  # it has places for each lane
            depth = part.parameters["depth"] // len(kinds) * len(lanes)
            more = {"n": len(lanes), "depth": depth}
            parts.append((name, Turns(**{**part.parameters, **more})))
        elif "n" in part.parameters:  # it has a stream for each lane
            width = Shape.cast(part.parameters["shape"]).width
            parts.append((name, type(part)(shape=unsigned(width), n=len(lanes))))
        else:
            parts.append((name, part))
    return Content(parts, small.memories, small.operators)


@lru_cache(maxsize=4)
def _small_core(parameters: tuple[tuple[str, Any], ...]) -> Content:
    """Return what is in a core, which is asked for again with more lanes of the same kinds."""
    return find_content(Core(**dict(parameters)))


def _node(component: Component, fit: Fit, visit: Callable[[Component], Node]) -> Node:
    kind = type(component).__name__
    if (structure := structure_of(component)) is not None:
        pass_over(component)
        own = structure_counts(structure)
        return Node(component.module_name, kind, own, [], is_primitive=True)
    content = _content(component)
    own = ruled_counts(content)
    own.update(fit.counts(kind, features(content)))
    # Cells are whole; Yosys makes CARRY4, two of which count as a CARRY8.
    own = Counter({name: max(0, round(n * _PER[name]) / _PER[name]) for name, n in own.items()})
    parts = [(name, visit(part)) for name, part in content.parts]
    return Node(component.module_name, kind, own, parts)


def total_counts(node: Node) -> Counter[str]:
    """Return the columns of a module with all that is in it, whole cells where cells are whole."""
    totals: dict[int, Counter[str]] = {}

    def total(node: Node) -> Counter[str]:
        if id(node) not in totals:
            counts = node.own.copy()
            for _, part in node.parts:
                counts.update(total(part))
            totals[id(node)] = counts
        return totals[id(node)]

    return total(node)


# Cells that count as one in each column.
_PER = Counter({"lut": 1, "lutram": 1, "ff": 1, "dsp": 1, "uram": 1, "carry8": 2, "bram36": 2})


def walk(
    component: Component, *, top_only: bool = False
) -> Iterator[tuple[Component, Content | None]]:
    """Yield each distinct component of a design, parents first; primitives without content."""
    seen = set()
    waiting = [component]
    while waiting:
        component = waiting.pop()
        key = type(component), tuple(component.parameters.items())
        if key in seen:
            continue
        seen.add(key)
        content = None if structure_of(component) is not None else find_content(component)
        yield component, content
        if content is not None and not top_only:
            waiting += [part for _, part in reversed(content.parts)]
