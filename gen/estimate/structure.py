"""What a target builds blocks of: the cells of their structures, counted one by one."""

from collections import Counter
from typing import Any

from amaranth.hdl import Const, Fragment, Instance

from ...rtl.component import Component
from ...rtl.primitive import Primitive
from ..synthesis.target import TARGETS

__all__ = ["structure_counts", "structure_of"]

_TARGET = TARGETS["xcup"]


def structure_of(component: Component) -> Any:
    """Return what the target builds a component of, or ``None`` if it has nothing for it."""
    if not isinstance(component, Primitive):
        return None
    return _TARGET.platform.structure(component)


def structure_counts(structure: Any) -> Counter[str]:
    """Return the columns of a structure: its cells, and its registers.

    A structure describes its logic by cells alone; what it adds in Amaranth are registers, which
    have reset and clock enable in them, and wires.
    """
    counts: Counter[str] = Counter()
    waiting = [Fragment.get(structure, None)]
    while waiting:
        fragment = waiting.pop()
        if isinstance(fragment, Instance):
            counts.update(_TARGET.costs[fragment.type])
            continue
        waiting += [inner for inner, *_ in fragment.subfragments]
        for domain, statements in fragment.statements.items():
            if domain != "comb":
                counts["ff"] += sum(_registers(statement) for statement in statements)
    return counts


def _registers(statement: Any) -> int:
    """Return the flip-flops of a statement."""
    if type(statement).__name__ == "Switch":
        return sum(_registers(inner) for _, inside, *_ in statement.cases for inner in inside)
    rhs = statement.rhs
    parts = rhs.parts if type(rhs).__name__ == "Concat" else [rhs]
    # What takes the same bit several times is one flip-flop.
    distinct = {id(part): part for part in parts if not isinstance(part, Const)}
    return min(len(statement.lhs), sum(map(len, distinct.values())))
