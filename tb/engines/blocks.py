"""What of a design is compiled once and used many times: Verilator flattens everything else."""

import re
from collections import Counter
from dataclasses import dataclass
from graphlib import TopologicalSorter

from ..design import Design

__all__ = ["WORTH", "Block", "choose_blocks"]

WORTH = 200_000
"""Characters of flattened Verilog, 10 s of compiling, that a block must save to be one."""

_MODULE = re.compile(r"^module (\w+).*?^endmodule", re.DOTALL | re.MULTILINE)
_INSTANCE = re.compile(r"^  (\w+) (?:\w+|\\\S+ ) ?\($", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A module that is compiled on its own.

    Members
    -------
    name : str
        The module.
    inner : tuple of str
        The blocks in it that are in no other block of it.
    """

    name: str
    inner: tuple[str, ...]


def choose_blocks(design: Design) -> tuple[Block, ...]:
    """Return the blocks of a design, inner ones first, and last the top with what is in no block.

    A boundary becomes a block when its copies, without the blocks in them, are together
    :data:`WORTH` it. A small design has no block but its top.
    """
    texts = {found[1]: found[0] for found in _MODULE.finditer(design.verilog or "")}
    parts = {
        name: Counter(part for part in _INSTANCE.findall(text) if part in texts)
        for name, text in texts.items()
    }
    order = list(TopologicalSorter(parts).static_order())
    copies = Counter({design.name: 1})
    for name in reversed(order):
        for part, n in parts[name].items():
            copies[part] += n * copies[name]
    blocks: dict[str, Block] = {}
    inner: dict[str, dict[str, None]] = {}
    size: dict[str, int] = {}
    for name in order:
        flat = {part: n for part, n in parts[name].items() if part not in blocks}
        size[name] = len(texts[name]) + sum(n * size[part] for part, n in flat.items())
        inner[name] = {}
        for part in parts[name]:
            inner[name] |= {part: None} if part in blocks else inner[part]
        is_worth_it = (copies[name] - 1) * size[name] >= WORTH
        if is_worth_it and name in design.boundaries:
            blocks[name] = Block(name, tuple(inner[name]))
    return *blocks.values(), Block(design.name, tuple(inner.get(design.name, ())))
