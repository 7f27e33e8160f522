"""Test vectors of accumulators, and of the normalizer behind them."""

import random
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from ...rtl.component import Component
from ...rtl.lane.normalize import Normalizer
from ...rtl.lane.numerics import Numerics
from ...rtl.lane.output import OutputAccumulator
from ...rtl.lane.score import ScoreAccumulator
from ...tb.lane.normalize import normalize
from ...tb.lane.output import accumulate
from ...tb.lane.reciprocal import exponent, reciprocal
from ...tb.simulate import to_bits
from .bench import Expected, Sent, Vectors
from .jobs import query_blocks, reads_of
from .words import between, plain, some, stream_vectors

__all__ = ["MAKERS"]

Fields = Mapping[str, Any]

ONE_DIGIT = Numerics(size=1, head_dim=1, tokens=1, p_width=8, segments=8, fraction=8)
"""For models that take anything from the numbers of a lane but its digits."""


def _scores(unit: ScoreAccumulator, n: int, rng: random.Random) -> Vectors:
    """Sum up the tiles of ``n`` steps in turn over two banks; read one while the other fills."""
    p = unit.parameters
    sent, reads = _Rows(unit, rng), _Reads()
    for number, block in enumerate(query_blocks(unit, n, rng)):
        shape = block["d_tiles"], block["rows"], p["size"]
        room = (1 << p["score_width"] - 1) // block["d_tiles"]
        limit = min(1 << p["product_width"] - 1, room) - 1
        products = between(rng, -limit, limit, shape)
        for k, row in product(range(shape[0]), range(shape[1])):
            ends = (k, row) == (shape[0] - 1, shape[1] - 1)
            tag = {"value": 0, "bank": number % 2, "row": row, "tile": k, "first": k == 0}
            sent.add(products[k, row], tag | {"complete": ends}, reads.before(number - 1))
            if row == shape[1] - 1:
                sent.fill(3 - shape[1])
        chunks = products.sum(axis=0).reshape(shape[1], -1, p["row_width"])
        parts = product(range(shape[1]), range(chunks.shape[1]))
        bits = (chunks.shape[1] - 1).bit_length()
        reads.add([((number % 2, c | row << bits), chunks[row, c].tolist()) for row, c in parts])
    places, found, after = reads.flat()
    read, answered = reads_of(unit, places, found, gate=("complete",), after=after)
    complete = [{"bank": number % 2} for number in range(n)]
    return _accumulated(unit, sent, complete, "r", {"r": read}, {"r__data": answered})


def _outputs(unit: OutputAccumulator, n: int, rng: random.Random) -> Vectors:
    """Sum up ``n`` query blocks over some steps; read each while others are summed up."""
    p = unit.parameters
    sent, reads = _Rows(unit, rng), _Reads()
    blocks = query_blocks(unit, n, rng)
    for number, block in enumerate(blocks):
        n_steps, acc = rng.randint(1, 4), np.zeros(1, np.int64)
        shape = block["d_tiles"], block["rows"], p["size"]
        # All steps together stay inside the accumulator, whatever the shifts do.
        room = (1 << p["acc_width"] - 1 - Numerics.acc_guard) // n_steps
        weight = 1 << p["digit_bits"] * (p["digits"] - 1)
        limit = max(0, min(1 << p["product_width"] - 1, room // (weight + 1)) - 1)
        for step in range(n_steps):
            sums = between(rng, -limit, limit, (p["digits"], *shape))
            total = sums[0] if p["digits"] == 1 else (sums[0] << p["digit_bits"]) + sums[1]
            amount = np.array([rng.choice([0, 1, 7, rng.randrange(64)]) for _ in range(shape[1])])
            of_new = np.array([rng.getrandbits(1) for _ in range(shape[1])])
            acc = accumulate(
                acc,
                total[None],
                ONE_DIGIT,
                old_shift=np.where(of_new, 0, amount)[:, None],
                new_shift=np.where(of_new, amount, 0)[:, None],
            )
            begin = len(sent.words)
            for k, row, digit in product(range(shape[0]), range(shape[1]), range(p["digits"])):
                ends = step == n_steps - 1 and (k, row) == (shape[0] - 1, shape[1] - 1)
                partial = digit < p["digits"] - 1
                tag = {
                    "value": 1,
                    "first": step == 0,
                    "complete": ends and not partial,
                    "partial": partial,
                    "slot": block["slot"],
                    "row": row,
                    "tile": k,
                    "rescale": {"amount": int(amount[row]), "of_new": int(of_new[row])},
                }
                sent.add(sums[digit, k, row], tag, reads.before(number - p["slots"] + 1))
            sent.fill(unit.feedback - (len(sent.words) - begin))
        parts = product(range(shape[1]), range(shape[0]))
        slot = block["slot"]
        reads.add([({"slot": slot, "row": r, "tile": k}, acc[k, r].tolist()) for r, k in parts])
    places, found, after = reads.flat()
    made = stream_vectors(unit, {"read": places}, {"data": found})
    read = Sent(plain(made.inputs["read"]), gate=("complete",), after=after)
    return _accumulated(unit, sent, blocks, "data", {"read": read}, made.outputs)


class _Rows:
    """Rows from a matrix unit, and how many reads must have been made before each."""

    def __init__(self, unit: Any, rng: random.Random) -> None:
        self._shape, self._rng, self._size = unit.i.payload.shape(), rng, unit.parameters["size"]
        self._others: dict[str, Any] = dict.fromkeys(("value", "slot", "bank", "row", "tile"), 0)
        self._others |= {"first": 1, "complete": 1, "partial": 0}
        self._others["rescale"] = {"amount": 0, "of_new": 0}
        self._is_score = isinstance(unit, ScoreAccumulator)
        self.words: list[int] = []
        self.after: list[int] = []

    def add(self, row: Any, tag: Fields, after: int) -> None:
        fields = {"row": [int(x) for x in row], "tag": self._others | dict(tag)}
        self.words.append(to_bits(self._shape, fields))
        self.after.append(after)

    def fill(self, n: int) -> None:
        """Add rows of the other product, which are not for the accumulator."""
        for _ in range(n):
            self.add([0] * self._size, {"value": int(self._is_score)}, 0)


class _Reads:
    """Reads in groups, each of them possible when something is complete."""

    def __init__(self) -> None:
        self.groups: list[list[tuple[Any, Any]]] = []

    def add(self, group: list[tuple[Any, Any]]) -> None:
        self.groups.append(group)

    def before(self, group: int) -> int:
        """Return how many reads there are up to and without a group."""
        return sum(map(len, self.groups[: max(group, 0)]))

    def flat(self) -> tuple[list[Any], list[Any], list[int]]:
        """Return all places, what is there, and how many things must be complete before each."""
        return (
            [place for group in self.groups for place, _ in group],
            [found for group in self.groups for _, found in group],
            [k + 1 for k, group in enumerate(self.groups) for _ in group],
        )


def _accumulated(
    unit: Any,
    sent: _Rows,
    complete: list[Any],
    gate: str,
    reads: dict[str, Sent],
    found: Mapping[str, Expected],
) -> Vectors:
    """Return vectors of rows that wait until what they overwrite has moved over ``gate``."""
    shape = unit.complete.payload.shape()
    inputs = {"i": Sent(sent.words, gate=(gate,), after=sent.after), **reads}
    outputs = {"complete": Expected([to_bits(shape, x) for x in complete]), **found}
    n_words = sum(len(x.words) for x in inputs.values())
    return Vectors(inputs, outputs, 200 + 8 * n_words)


def _normalizer(unit: Normalizer, n: int, rng: random.Random) -> Vectors:
    """Divide ``n`` query blocks; sums of 0 and quotients beyond the largest are among them.

    In every other turn over the slots a row's reciprocal comes late: when all outputs of the rows
    before have left. Otherwise it comes as early as it may, with the query block before.
    """
    p = unit.parameters
    most = (1 << p["acc_width"] - 1) - 1
    sum_width = max(p["acc_width"] - p["stationary_width"] + 1, 1)
    blocks = query_blocks(unit, n, rng)
    factors, after, places, words = [], [], [], []
    beats: list[dict[str, Any]] = []
    begins: list[int] = []  # of each query block among all outputs
    for number, block in enumerate(blocks):
        begins.append(len(beats))
        columns = block["d_tiles"] * p["size"]
        totals = [
            0 if rng.random() < 0.1 else rng.getrandbits(rng.randint(1, sum_width))
            for _ in range(block["rows"])
        ]
        accs = np.array(
            [
                [max(-most, min(most, total * value)) for value in some(rng, -200, 200, columns)]
                for total in totals
            ],
            np.int64,
        )
        for row, total in enumerate(totals):
            factor = {"zero": int(total == 0), "e": 63, "r": 0}
            if total:
                factor |= {"e": int(exponent(total)), "r": int(reciprocal(total))}
            factors.append(factor | {"tag": {"slot": block["slot"], "row": row}})
            is_late = number // p["slots"] % 2 == 0
            before = begins[number] + row * columns // p["out_width"]
            free = begins[max(0, number - p["slots"] + 1)]
            after.append(before if is_late else free)
            for k in range(block["d_tiles"]):
                words.append(accs[row, k * p["size"] : (k + 1) * p["size"]].tolist())
                places.append({"slot": block["slot"], "row": row, "tile": k})
        out = normalize(accs, np.array(totals)).reshape(-1, p["out_width"]).tolist()
        beats += [{"row": row, "last": k == len(out) - 1} for k, row in enumerate(out)]
    slots = [{"slot": block["slot"]} for block in blocks]
    made = stream_vectors(
        unit,
        {"i": blocks, "recip": factors, "data": words},
        {"read": places, "o": beats, "done": slots},
    )
    asked = list(range(1, len(words) + 1))
    data = Sent(plain(made.inputs["data"]), gate=("read",), after=asked)
    recip = Sent(plain(made.inputs["recip"]), gate=("o",), after=after)
    inputs = {**made.inputs, "recip": recip, "data": data}
    return Vectors(inputs, made.outputs, made.max_cycles + 40 * (n + len(factors)))


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    Normalizer: _normalizer,
    OutputAccumulator: _outputs,
    ScoreAccumulator: _scores,
}
"""What makes ``n`` test cases of a component."""
