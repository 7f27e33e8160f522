"""Exact model of :mod:`qkloom.rtl.cache.slots`: slots of KV blocks, step by step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...rtl.cache.slots import SlotTable
from ...rtl.formats import ceil_log2
from ..index.forecast_exact import pack_lists
from ..packing import Words, pack

__all__ = ["SlotModel", "Step", "StepResult", "draw_steps", "slot_words", "step_words"]

Place = tuple[int, int]
"""A block and a slot."""


@dataclass(frozen=True)
class Step:
    """What is wanted of a head.

    Members
    -------
    head, tail : int
        Whose blocks, and the block that grows.
    wanted : sequence of int
        Blocks; in ascending order, if nothing is wrong.
    clears, last : bool
        Its slots are free first; the list is the last one of its layer.
    """

    head: int
    tail: int
    wanted: Sequence[int]
    clears: bool = False
    last: bool = False


@dataclass
class StepResult:
    """What becomes of a step; see :func:`~qkloom.rtl.cache.step.step_result_layout`."""

    hits: int = 0
    misses: int = 0
    tail: bool = False
    refused: bool = False
    unknown: bool = False
    unordered: bool = False
    excess: bool = False
    places: list[Place] = field(default_factory=list)
    load: list[Place] = field(default_factory=list)
    evict: list[Place] = field(default_factory=list)


class SlotModel:
    """The slots of all heads.

    Parameters
    ----------
    heads, blocks, k : int
        As of the table.

    Members
    -------
    slots : list of lists
        Of each head the block in each slot but the tail's, or None.
    """

    def __init__(self, *, heads: int, blocks: int, k: int) -> None:
        self.blocks, self.k = blocks, k
        self.slots: list[list[int | None]] = [[None] * (k - 1) for _ in range(heads)]

    def step(self, step: Step) -> StepResult:
        """Return what becomes of a step, and keep it."""
        result = StepResult()
        if step.head >= len(self.slots) or step.tail >= self.blocks:
            result.refused = True
            return result
        if step.clears:
            self.slots[step.head] = [None] * (self.k - 1)
        slots = self.slots[step.head]
        had = self._had(step, result)
        is_spare = [block not in had for block in slots]
        free = [s for s, block in enumerate(slots) if block is None]
        spare = free + [s for s, block in enumerate(slots) if is_spare[s] and block is not None]
        for block in had:
            if block in slots:
                result.hits += 1
            else:
                result.misses += 1
                slot = spare.pop(0)
                old, slots[slot] = slots[slot], block
                result.load.append((block, slot))
                if old is not None:
                    result.evict.append((old, slot))
            result.places.append((block, slots.index(block)))
        if result.tail:
            result.places.append((step.tail, self.k - 1))
        return result

    def _had(self, step: Step, result: StepResult) -> list[int]:
        """Return which wanted blocks get a slot; say in the result which do not."""
        had: list[int] = []
        highest = -1
        for block in step.wanted:
            is_above, is_known = block > highest, block <= step.tail
            result.unordered |= not is_above
            result.unknown |= not is_known
            highest = max(highest, block)
            if not is_above or not is_known:
                continue
            if block == step.tail:
                result.tail = True
            elif len(had) == self.k - 1:
                result.excess = True
            else:
                had.append(block)
        return had


def slot_words(unit: SlotTable, steps: Iterable[Step]) -> tuple[dict[str, Words], dict[str, Words]]:
    """Return the payloads of input and output streams, for steps one after the other."""
    model = SlotModel(**unit.parameters)
    asked = list(steps)
    results = [model.step(step) for step in asked]
    wanted = pack_lists([list(step.wanted) for step in asked])
    items = {name: [item[name] for item in wanted] for name in ("block", "end")}
    inputs = {
        "step": pack(
            unit.step.payload.shape(),
            **{
                name: [getattr(s, name) for s in asked]
                for name in unit.step.payload.shape().members
            },
        ),
        "wanted": pack(unit.wanted.payload.shape(), **items),
    }
    shape = unit.result.payload.shape()
    names = [name for name in shape.members if name != "head"]
    told = {name: [getattr(result, name) for result in results] for name in names}
    outputs = {"result": pack(shape, head=[step.head for step in asked], **told)}
    for name in ("places", "load", "evict"):
        rows = []
        for step, result in zip(asked, results, strict=True):
            rows += [(step.head, *place, 0, 0) for place in getattr(result, name)]
            rows.append((step.head, 0, 0, 1, int(step.last)))
        fields = dict(zip(("head", "block", "slot", "end", "last"), np.array(rows).T, strict=True))
        outputs[name] = pack(getattr(unit, name).payload.shape(), **fields)
    return inputs, outputs


def step_words(shape: Any, steps: Sequence[Step]) -> Words:
    """Return what steps are for, as payloads of ``shape``."""
    return pack(shape, **{name: [getattr(s, name) for s in steps] for name in shape.members})


def draw_steps(
    unit: SlotTable, rng: np.random.Generator, n: int, *, faults: bool = True
) -> list[Step]:
    """Draw ``n`` steps of any heads: what is wanted drifts, now and then all is new or wrong.

    Parameters
    ----------
    faults : bool
        Whether some lists and steps make no sense.
    """
    heads, blocks, k = (unit.parameters[name] for name in ("heads", "blocks", "k"))
    last_wanted: dict[int, set[int]] = {}
    steps = []
    for _ in range(n):
        head, tail = int(rng.integers(heads)), int(rng.integers(blocks))
        if rng.random() < 0.7:
            tail = max(blocks - 1 - int(rng.integers(3)), 0)
        most = k - 1 + int(faults and rng.random() < 0.1)
        size = min(int(rng.integers(most + 1)) if rng.random() < 0.5 else most, tail)
        before = sorted(b for b in last_wanted.get(head, set()) if b < tail)
        stays = [b for b in before if rng.random() < 0.8][:size]
        rest = np.setdiff1d(np.arange(tail), stays)
        fresh = rng.choice(rest, size - len(stays), replace=False)
        wanted = sorted({*stays, *map(int, fresh)})
        last_wanted[head] = set(wanted)
        if rng.random() < 0.7:
            wanted.append(tail)
        if faults and rng.random() < 0.2:
            wanted += [int(b) for b in rng.integers(0, blocks, int(rng.integers(1, 4)))]
        if faults and rng.random() < 0.2:
            rng.shuffle(wanted)
        # Numbers that there are not, as far as there is room for them.
        if faults and rng.random() < 0.1:
            head, tail = ((1 << ceil_log2(max(x, 2))) - 1 for x in (heads, blocks))
        clears = bool(rng.random() < 0.1)
        steps.append(Step(head, tail, wanted, clears=clears, last=bool(rng.integers(2))))
    return steps
