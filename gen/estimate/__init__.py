"""Estimates: what a design costs, in seconds, from a model fitted to synthesis."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...rtl.component import Component
from ..synthesis import COLUMNS, Synthesis, count_macs, listed_blocks
from ..synthesis.blocks import find_blocks
from ..synthesis.netlist import Cell, Module, Netlist
from ..synthesis.target import Target
from .model import FEATURES, Fit, Node, build_tree, read_fit, total_counts

__all__ = ["Estimate", "estimate", "tree_of"]

# Each column is a cell of its own kind, so that the table is made as that of a synthesis is.
_TARGET = Target("xcup", (), {column: {column: 1} for column in COLUMNS})


@dataclass(frozen=True)
class Estimate(Synthesis):
    """What synthesis would make of a design.

    Members
    -------
    fit : Fit
        The model.
    unfitted : tuple of str
        Classes of components that it was not fitted to: their logic is the least certain.
    """

    fit: Fit = field(kw_only=True)
    unfitted: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        facts = super().as_dict()
        del facts["timing_proxy"]
        return {
            **facts,
            "seconds": round(self.seconds, 3),
            "estimated": True,
            "errors": self.fit.errors,
            "fitted": {"date": self.fit.date, "points": self.fit.points},
            "unfitted": list(self.unfitted),
        }


def estimate(component: Component, *, name: str | None = None) -> Estimate:
    """Estimate what ``qkloom synth`` counts for a component on UltraScale+.

    Parameters
    ----------
    component : Component
        The design.
    name : str, optional
        Name of the top module.
    """
    start = time.perf_counter()
    fit = read_fit()
    tree = tree_of(component)
    netlist = _netlist(tree, name or tree.name)
    unfitted = sorted(_unfitted(tree, fit))
    return Estimate(
        name=netlist.top,
        target="xcup",
        yosys=fit.yosys,
        columns=COLUMNS,
        total=_TARGET.count(total_counts(tree)),
        blocks=find_blocks(netlist, _TARGET, listed_blocks(component)),
        macs=count_macs(component),
        timing=None,
        notes=list(_notes(tree, fit, unfitted)),
        seconds=time.perf_counter() - start,
        fit=fit,
        unfitted=tuple(unfitted),
    )


def tree_of(component: Component, nodes: dict[Any, Node] | None = None) -> Node:
    """Return what everything in a component costs; see :func:`~.model.build_tree`."""
    return build_tree(component, read_fit(), nodes)


@dataclass(frozen=True)
class _Counted(Netlist):
    """Modules whose cells are columns, which are counted and not listed."""

    own: Mapping[str, Counter[str]]

    @cached_property
    def cells(self) -> Mapping[str, Counter[str]]:
        """Columns of each module, with those of the modules inside."""
        totals: dict[str, Counter[str]] = {}

        def total(name: str) -> Counter[str]:
            if name not in totals:
                count = self.own[name].copy()
                for cell in self.modules[name].cells:
                    count.update(total(cell.type))
                totals[name] = count
            return totals[name]

        total(self.top)
        return totals


def _netlist(tree: Node, top: str) -> Netlist:
    """Return a tree as a netlist."""
    names: dict[int, str] = {}
    own: dict[str, Counter[str]] = {}
    modules: dict[str, Module] = {}

    def add(node: Node, name: str) -> str:
        if id(node) not in names:
            while name in own:  # names of modules may be cut short
                name += "_"
            names[id(node)], own[name] = name, node.own
            cells = [
                Cell(instance, add(part, part.name), {}, frozenset(), {})
                for instance, part in node.parts
            ]
            modules[name] = Module(name, {}, {}, cells, {})
        return names[id(node)]

    return _Counted(top=add(tree, top), modules=modules, own=own)


def _unfitted(tree: Node, fit: Fit) -> set[str]:
    """Return the classes in a design whose logic is only known from other classes."""
    seen: dict[int, Node] = {}
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += [part for _, part in node.parts]
    return {
        node.kind
        for node in seen.values()
        if node.kind not in fit.factors and any(node.own.values()) and not node.is_primitive
    }


def _notes(tree: Node, fit: Fit, unfitted: Sequence[str]) -> Iterator[str]:
    """Say how far to trust the figures."""
    errors = ", ".join(
        f"{name.upper()} {fit.errors[name]['median']:.1%}, {fit.errors[name]['worst']:.0%}"
        for name in FEATURES
        if name in fit.errors
    )
    yield (
        f"estimated from {fit.n_points} points that Yosys {fit.yosys} synthesized, {fit.date}; "
        f"error of points that were not fitted, median and worst: {errors}; "
        "DSP, BRAM, URAM none"
    )
    if unfitted:
        yield (
            f"these errors do not cover {', '.join(unfitted)}, of which no point has any: their "
            f"logic, {_share(tree, unfitted):.1%} of the LUT, is estimated as other components' is"
        )
    yield "what synthesis says itself: `qkloom synth` with the same arguments"


def _share(tree: Node, kinds: Sequence[str]) -> float:
    """Return the share of a design's LUTs that is in modules of some classes."""
    shares: dict[int, float] = {}

    def inside(node: Node) -> float:
        if id(node) not in shares:
            own = node.own["lut"] if node.kind in kinds else 0
            shares[id(node)] = own + sum(inside(part) for _, part in node.parts)
        return shares[id(node)]

    return inside(tree) / (total_counts(tree)["lut"] or 1)
