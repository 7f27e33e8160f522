"""Test vectors of what a lane is made of, and of lanes: the exact models say what comes out."""

import random
from collections.abc import Mapping
from itertools import accumulate as running
from itertools import chain, pairwise, product
from typing import Any, NamedTuple

import numpy as np
from amaranth.hdl import Shape

from ..rtl.component import Component
from ..rtl.core import Core
from ..rtl.formats import Fixed, Integer
from ..rtl.lane.exp2 import Exp2
from ..rtl.lane.feeder import Feeder
from ..rtl.lane.lane import Lane, lane_kind
from ..rtl.lane.loader import TileLoader
from ..rtl.lane.mask import Mask
from ..rtl.lane.maximum import RunningMaximum
from ..rtl.lane.normalize import Normalizer
from ..rtl.lane.numerics import Numerics
from ..rtl.lane.output import OutputAccumulator
from ..rtl.lane.probability import ProbabilityBuffer
from ..rtl.lane.query import QueryBuffer
from ..rtl.lane.row import RowUnit
from ..rtl.lane.scale import Scale
from ..rtl.lane.schedule import PassScheduler, StepExpander
from ..rtl.lane.score import ScoreAccumulator
from ..rtl.lane.total import RunningSum
from ..tb.buffer.tile import strip_rows, tile
from ..tb.formats import Ints
from ..tb.lane.exp2 import exp2
from ..tb.lane.normalize import normalize
from ..tb.lane.output import accumulate
from ..tb.lane.reciprocal import exponent, reciprocal
from ..tb.lane.row import RowState, base2_scores, split, visible_keys
from ..tb.lane.running import RunningMaxima, RunningSums
from ..tb.lane.schedule import passes_of, steps_of
from ..tb.simulate import to_bits
from .chip import read_chip
from .emit import pass_over
from .vectors import Answers, Expected, Sent, Vectors

__all__ = ["MAKERS"]

Fields = Mapping[str, Any]

ONE_DIGIT = Numerics(size=1, head_dim=1, tokens=1, p_width=8, segments=8, fraction=8)
"""For models that take anything from the numbers of a lane but its digits."""


class Pipeline(NamedTuple):
    """Payloads that go into the port ``i``, and those that leave ``o`` a fixed time later."""

    inputs: list[Any]
    outputs: list[Any]

    def vectors(self, unit: Any) -> Vectors:
        """Return test vectors with some cycles between the payloads."""
        i, o = unit.signature.members["i"].shape, unit.signature.members["o"].shape
        sent = Sent([to_bits(i, x) for x in self.inputs], ports=("i",), valid="i__valid")
        words = [to_bits(o, x) for x in self.outputs]
        back = Expected(words, ports=("o",), of="i", latency=unit.latency)
        return Vectors({"i": sent}, {"o": back}, 100 + 4 * len(words) + 2 * unit.latency)


def _exp2(unit: Exp2, n: int, rng: random.Random) -> Vectors:
    """Take exponents of all sizes, some of them of hidden keys."""
    numerics = Numerics(size=1, head_dim=1, tokens=1, **unit.parameters)
    y_width = Numerics.max_width + 1 + numerics.fraction
    inputs, outputs = [], []
    for _ in range(16 * n):
        y, visible = rng.getrandbits(rng.randint(1, y_width)), rng.random() < 0.9
        inputs.append({"y": y, "visible": visible})
        outputs.append(int(exp2(y, numerics)) if visible else 0)
    return Pipeline(inputs, outputs).vectors(unit)


def _mask(unit: Mask, n: int, rng: random.Random) -> Vectors:
    """Ask about chunks around the diagonal, and far from it."""
    p = unit.parameters
    size, width, rows = p["size"], p["row_width"], p["block_rows"]
    numerics = Numerics(size=size, head_dim=size, tokens=p["tokens"])
    inputs, outputs = [], []
    for _ in range(16 * n):
        row, chunk = rng.randrange(rows), rng.randrange(size // width)
        near = rng.randint(-row - 2, size)
        diagonal = rng.choice([near, near, -p["tokens"], 2 * p["tokens"] - 1])
        diagonal = max(-2 * p["tokens"], min(diagonal, 2 * p["tokens"] - 1))
        keys, causal = rng.randint(0, size), rng.getrandbits(1)
        where = {"row": row, "chunk": chunk}
        inputs.append(where | {"keys": keys, "causal": causal, "diagonal": diagonal})
        seen = visible_keys(row + 1, keys, numerics, diagonal=diagonal if causal else None)[row]
        part = seen[chunk * width : (chunk + 1) * width].tolist()
        outputs.append(sum(bit << j for j, bit in enumerate(part)))
    return Pipeline(inputs, outputs).vectors(unit)


def _scale(unit: Scale, n: int, rng: random.Random) -> Vectors:
    """Multiply scores of all sizes by factors of all sizes."""
    fraction, score = unit.parameters["fraction"], Integer(unit.parameters["score_width"])
    numerics = Numerics(size=1, head_dim=1, tokens=1, fraction=fraction)
    inputs, outputs = [], []
    for _ in range(16 * n):
        scores = [_number(rng, score) for _ in range(unit.parameters["row_width"])]
        mantissa = rng.getrandbits(Numerics.mantissa_width)
        shift = rng.randrange(1 << Numerics.shift_width)
        inputs.append({"scores": scores, "mantissa": mantissa, "shift": shift})
        outputs.append(base2_scores(scores, mantissa, shift, numerics).tolist())
    return Pipeline(inputs, outputs).vectors(unit)


def _maximum(unit: RunningMaximum, n: int, rng: random.Random) -> Vectors:
    """Visit all rows in turn, ``n`` times."""
    model, most = RunningMaxima(), (1 << Numerics.max_width) - 2
    inputs, outputs = [], []
    for place, chunks in _rows_in_turn(unit, n, unit.feedback, rng):
        limit = rng.choice([8, 1 << 9, most])
        x = [[rng.randint(-limit, limit) for _ in range(chunks.width)] for _ in range(chunks.n)]
        inputs += [chunks.place(place, k) | {"x": part} for k, part in enumerate(x)]
        row = place["slot"], place["row"]
        tile_maximum, before = model.step(row, chain(*x), first=place["first"])
        outputs.append({"tile": tile_maximum, "before": before})
    return _chunked(unit, inputs, outputs)


def _sum(unit: RunningSum, n: int, rng: random.Random) -> Vectors:
    """Visit all rows in turn, ``n`` times; start afresh when a sum might not fit."""
    model, totals = RunningSums(), dict[tuple[int, int], int]()
    inputs, outputs = [], []
    for place, chunks in _rows_in_turn(unit, n, unit.feedback, rng):
        row, room = (place["slot"], place["row"]), (1 << unit.parameters["sum_width"]) - 1
        n_words = chunks.n * chunks.width
        limit = min((1 << unit.parameters["p_width"]) - 1, (room >> 5) // n_words)
        p = [
            [rng.choice([0, limit, rng.randint(0, limit)]) for _ in range(chunks.width)]
            for _ in range(chunks.n)
        ]
        place["first"] |= totals.get(row, 0) + (limit * n_words << 4) > room
        rescale: dict[str, Any] = {"amount": rng.choice([0, 1, 2, 5, rng.randrange(64)])}
        rescale["of_new"] = rng.getrandbits(1)
        fields = {"rescale": rescale}
        inputs += [chunks.place(place, k) | fields | {"p": part} for k, part in enumerate(p)]
        totals[row] = model.step(row, chain(*p), first=place["first"], **rescale)
        if place["last"]:
            outputs.append({"l": totals[row], "tag": {"slot": row[0], "row": row[1]}})
    return _chunked(unit, inputs, outputs)


class _Chunks(NamedTuple):
    """How a row comes: ``n`` chunks of ``width``."""

    n: int
    width: int

    def place(self, place: Fields, number: int) -> dict[str, Any]:
        """Return the place of a chunk."""
        return {**place, "begin": number == 0, "end": number == self.n - 1}


def _rows_in_turn(unit: Any, n: int, distance: int, rng: random.Random) -> Any:
    """Yield places; a row comes again no sooner than after ``distance`` chunks."""
    places = list(product(range(unit.parameters["slots"]), range(unit.parameters["block_rows"])))
    chunks = _Chunks(-(-distance // len(places)), unit.parameters["row_width"])
    for turn in range(n):
        for number, (slot, row) in enumerate(places):
            is_end = turn == n - 1 and number == len(places) - 1
            first, last = turn == 0 or rng.random() < 0.2, is_end or rng.random() < 0.6
            yield {"slot": slot, "row": row, "first": first, "last": last}, chunks


def _chunked(unit: Any, inputs: list[dict[str, Any]], outputs: list[Any]) -> Vectors:
    """Send chunks; those of a row come one after another, and so all do if there are several."""
    names = ("slot", "row", "begin", "end", "first", "last")
    items = [
        {"place": {key: x.pop(key) for key in names}, **x} for x in (dict(item) for item in inputs)
    ]
    made = _streams(unit, {"i": items}, {"o": outputs})
    is_steady = not all(item["place"]["begin"] for item in items)
    sent = Sent(_plain(made.inputs["i"]), is_steady=is_steady)
    return Vectors({"i": sent}, made.outputs, made.max_cycles)


def _steps(unit: StepExpander, n: int, rng: random.Random) -> Vectors:
    """Cut ``n`` random jobs."""
    jobs = [_job(unit, rng) for _ in range(n)]
    return _streams(unit, {"i": jobs}, {"o": steps_of(jobs, size=unit.parameters["size"])})


def _passes(unit: PassScheduler, n: int, rng: random.Random) -> Vectors:
    """Order the steps of ``n`` random jobs.

    Whether the values of a step come behind the keys of the next depends on when that one comes;
    keys and values have an order of their own in any case.
    """
    steps = steps_of([_job(unit, rng) for _ in range(n)], size=unit.parameters["size"])
    shape = unit.passes.payload.shape()
    assert shape["value"].offset == 0
    passes = [to_bits(shape, x) for v in (0, 1) for s in steps for x in passes_of(s, value=v)]
    made = _streams(unit, {"i": steps}, {"steps": steps})
    outputs = {**made.outputs, "passes": Expected(passes, key_width=1)}
    return Vectors(made.inputs, outputs, made.max_cycles + 8 * len(passes))


def _planes(unit: Any, rng: random.Random) -> dict[str, int]:
    """Return how many bits of queries count, if jobs say so."""
    return {"planes": rng.randint(1, 8)} if unit.parameters["runtime_precision"] else {}


def _job(unit: Any, rng: random.Random) -> dict[str, int]:
    p = unit.parameters
    return {
        **_planes(unit, rng),
        "first": rng.getrandbits(1),
        "last": rng.getrandbits(1),
        "slot": rng.randrange(p["slots"]),
        "rows": rng.randint(1, p["block_rows"]),
        "d_tiles": rng.randint(1, p["head_dim"] // p["size"]),
        "causal": rng.getrandbits(1),
        "diagonal": rng.randrange(p["tokens"]),
        "mantissa": rng.getrandbits(Numerics.mantissa_width),
        "shift": rng.randrange(1 << Numerics.shift_width),
        "keys": rng.randint(1, min(p["block_rows"], p["tokens"])),
    }


def _query_blocks(unit: Any, n: int, rng: random.Random) -> list[dict[str, int]]:
    """Return query blocks of all sizes, in turn over the slots."""
    p = unit.parameters
    return [
        {
            "slot": number % p["slots"],
            "rows": rng.choice([p["block_rows"], rng.randint(1, p["block_rows"])]),
            "d_tiles": rng.randint(1, p["head_dim"] // p["size"]),
        }
        for number in range(n)
    ]


def _loader(unit: TileLoader, n: int, rng: random.Random) -> Vectors:
    """Load the tiles of ``n`` steps, values of one behind the keys of the next."""
    size, signed = unit.parameters["size"], unit.parameters["is_signed"]
    digit_planes = unit.parameters["digit_planes"]
    blocks = _query_blocks(unit, n, rng)
    strips = [[_ints(rng, size, b["d_tiles"] * size) for b in blocks] for _ in range(2)]
    order = [(k, v) for k in range(n + 1) for v in (0, 1) if v <= k < n + v]
    passes, beats = [], []
    for k, value in order:
        step = blocks[k - value] | {"first": 1, "last": 0, "bank": (k - value) % 2}
        step |= _planes(unit, rng)
        planes = {name: digit_planes if value else step[name] for name in _planes(unit, rng)}
        passes += passes_of(step, value=value)
        for number in range(step["d_tiles"]):
            rows = tile(strips[value][k - value], number, columns=not value).tolist()
            beats += [{"row": row, "is_signed": not value or signed, **planes} for row in rows]
    rows_of = [[row for strip in kind for row in strip_rows(strip, size=size)] for kind in strips]
    return _streams(unit, {"i": passes, "keys": rows_of[0], "values": rows_of[1]}, {"tile": beats})


def _queries(unit: QueryBuffer, n: int, rng: random.Random) -> Vectors:
    """Load ``n`` query blocks; read each of them anywhere, and free its slot."""
    blocks, size = _query_blocks(unit, n, rng), unit.parameters["size"]
    tile_bits = (unit.parameters["head_dim"] // size - 1).bit_length()
    i, reads, found, counts = [], [], [], []
    for block in blocks:
        places = list(product(range(block["rows"]), range(block["d_tiles"])))
        rows = _ints(rng, len(places), size).tolist()
        i += rows
        order = rng.sample(range(len(places)), len(places))
        reads += [(block["slot"], places[k][1] | places[k][0] << tile_bits) for k in order]
        found += [rows[k] for k in order]
        counts.append(len(places))
    slots = [{"slot": block["slot"]} for block in blocks]
    made = _streams(unit, {"load": blocks, "i": i, "freed": slots}, {"loaded": slots})
    after = [k + 1 for k, count in enumerate(counts) for _ in range(count)]
    freed = Sent(_plain(made.inputs["freed"]), gate=("r",), after=list(running(counts)))
    read, answered = _reads(unit, reads, found, gate=("loaded",), after=after)
    inputs = {**made.inputs, "freed": freed, "r": read}
    return Vectors(inputs, {**made.outputs, "r__data": answered}, made.max_cycles + 9 * len(i))


def _scores(unit: ScoreAccumulator, n: int, rng: random.Random) -> Vectors:
    """Sum up the tiles of ``n`` steps in turn over two banks; read one while the other fills."""
    p = unit.parameters
    sent, reads = _Rows(unit, rng), _Reads()
    for number, block in enumerate(_query_blocks(unit, n, rng)):
        shape = block["d_tiles"], block["rows"], p["size"]
        room = (1 << p["score_width"] - 1) // block["d_tiles"]
        limit = min(1 << p["product_width"] - 1, room) - 1
        products = _between(rng, -limit, limit, shape)
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
    read, answered = _reads(unit, places, found, gate=("complete",), after=after)
    complete = [{"bank": number % 2} for number in range(n)]
    return _accumulated(unit, sent, complete, "r", {"r": read}, {"r__data": answered})


def _outputs(unit: OutputAccumulator, n: int, rng: random.Random) -> Vectors:
    """Sum up ``n`` query blocks over some steps; read each while others are summed up."""
    p = unit.parameters
    sent, reads = _Rows(unit, rng), _Reads()
    blocks = _query_blocks(unit, n, rng)
    for number, block in enumerate(blocks):
        n_steps, acc = rng.randint(1, 4), np.zeros(1, np.int64)
        shape = block["d_tiles"], block["rows"], p["size"]
        # All steps together stay inside the accumulator, whatever the shifts do.
        room = (1 << p["acc_width"] - 1 - Numerics.acc_guard) // n_steps
        weight = 1 << p["digit_bits"] * (p["digits"] - 1)
        limit = max(0, min(1 << p["product_width"] - 1, room // (weight + 1)) - 1)
        for step in range(n_steps):
            sums = _between(rng, -limit, limit, (p["digits"], *shape))
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
    made = _streams(unit, {"read": places}, {"data": found})
    read = Sent(_plain(made.inputs["read"]), gate=("complete",), after=after)
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


def _reads(unit: Any, places: list[tuple[int, int]], found: list[Any], **gate: Any) -> Any:
    """Return what reads (bank, address) of a unit's memory, and what must come back."""
    width, shape = len(unit.r.address), unit.r.data.shape()
    words = [address | bank << width for bank, address in places]
    answers = [to_bits(shape, data) for data in found]
    read = Sent(words, ports=("r__address", "r__bank"), valid="r__en", **gate)
    return read, Expected(answers, ports=("r__data",), of="r", latency=1)


def _probabilities(unit: ProbabilityBuffer, n: int, rng: random.Random) -> Vectors:
    """Fill the banks ``n`` times in turn; read one while the other is filled."""
    p, shape = unit.parameters, unit.w.payload.shape()
    chunks, row_bits = p["size"] // p["row_width"], len(unit.r.row)
    writes: list[int] = []
    reads: list[int] = []
    after_reads, after_writes, found = [], [], []
    free = 0
    for turn in range(n):
        bank, n_rows = turn % 2, rng.randint(1, p["block_rows"])
        before = len(reads)
        for row in range(n_rows):
            digits = _between(rng, 0, 255, (p["size"], p["digits"])).tolist()
            rescale = {"amount": rng.randrange(64), "of_new": rng.getrandbits(1)}
            for chunk in range(chunks):
                part = digits[chunk * p["row_width"] : (chunk + 1) * p["row_width"]]
                where = {"bank": bank, "row": row, "chunk": chunk}
                writes.append(to_bits(shape, where | {"digits": part, "rescale": rescale}))
                after_reads.append(free)
            rescale_bits = to_bits(shape["rescale"].shape, rescale)
            width = Shape.cast(unit.r.digits.shape()).width
            reads.append(row | bank << row_bits)
            found.append(to_bits(unit.r.digits.shape(), digits) | rescale_bits << width)
        after_writes += n_rows * [len(writes)]
        free = before  # reads of the other bank, which comes next
    read = Sent(reads, ports=("r__row", "r__bank"), valid="r__en", gate=("w",), after=after_writes)
    inputs = {"w": Sent(writes, gate=("r",), after=after_reads), "r": read}
    answered = Expected(found, ports=("r__digits", "r__rescale"), of="r", latency=1)
    return Vectors(inputs, {"r__data": answered}, 200 + 8 * len(writes) + 8 * len(reads))


def _feeder(unit: Feeder, n: int, rng: random.Random) -> Vectors:
    """Stream the passes of ``n`` steps, values of one behind the keys of the next."""
    p = unit.parameters
    tile_bits, address_bits = (
        (p["head_dim"] // p["size"] - 1).bit_length(),
        len(unit.queries.address),
    )
    row_bits = len(unit.probabilities.row)
    o, loaded, done = (getattr(unit, x).payload.shape() for x in ("o", "loaded", "done"))
    unused = to_bits(o["tag"].shape["rescale"].shape, {"amount": 63, "of_new": 1})
    unused <<= o["tag"].offset + o["tag"].shape["rescale"].offset
    everything = (1 << Shape.cast(o).width) - 1
    steps = [
        block | {"first": True, "last": rng.random() < 0.4, "bank": k % 2}
        for k, block in enumerate(_query_blocks(unit, n, rng))
    ]
    for older, step in pairwise(steps):
        if not older["last"]:  # goes on with the same queries
            step |= {name: older[name] for name in ("slot", "rows", "d_tiles")} | {"first": False}
    # What a memory holds where it is read.
    queries: dict[tuple[int, int], list[int]] = {}
    passes: list[dict[str, Any]] = []
    tokens: dict[str, list[tuple[int, int]]] = {"loaded": [], "done": []}
    asked: dict[str, list[tuple[int, int]]] = {"queries": [], "probabilities": []}
    rows, masks = [], []
    for k, value in [(k, v) for k in range(n + 1) for v in (0, 1) if v <= k < n + v]:
        step, after = steps[k - value], max(len(passes) - 1, 0)
        if value:
            tokens["done"].append((to_bits(done, {"bank": step["bank"]}), after))
            held = [
                (
                    _between(rng, 0, 255, (p["size"], p["digits"])).tolist(),
                    {"amount": rng.randrange(64), "of_new": rng.getrandbits(1)},
                )
                for _ in range(step["rows"])
            ]
        elif step["first"]:
            tokens["loaded"].append((to_bits(loaded, {"slot": step["slot"]}), after))
            for at in product(range(step["rows"]), range(step["d_tiles"])):
                queries[step["slot"], at[1] | at[0] << tile_bits] = _ints(rng, 1, p["size"])[
                    0
                ].tolist()
        for work in passes_of(step, value=value):
            passes.append(work)
            digits = p["digits"] if value else 1
            for row, digit in product(range(step["rows"]), range(digits)):
                is_end = (row, digit) == (step["rows"] - 1, digits - 1)
                tag = {name: work[name] for name in ("value", "slot", "bank", "tile")}
                tag |= {"row": row, "partial": digit < digits - 1}
                complete = is_end and work["tile_last"] and (not value or step["last"])
                tag |= {
                    "complete": complete,
                    "first": step["first"] if value else work["tile"] == 0,
                }
                if value:
                    chunk, rescale = held[row]
                    elements = [x[digit] for x in chunk]
                    data = to_bits(unit.probabilities.digits.shape(), chunk)
                    width = Shape.cast(unit.probabilities.digits.shape()).width
                    data |= to_bits(unit.probabilities.rescale.shape(), rescale) << width
                    asked["probabilities"].append((row | step["bank"] << row_bits, data))
                else:
                    address = work["tile"] | row << tile_bits
                    elements, rescale = queries[step["slot"], address], {"amount": 0, "of_new": 0}
                    data = to_bits(unit.queries.data.shape(), elements)
                    asked["queries"].append((address | step["slot"] << address_bits, data))
                new = row == 0 and digit == 0
                fields = {"row": elements, "new_tile": new, "tag": tag | {"rescale": rescale}}
                rows.append(to_bits(o, fields))
                masks.append(everything if value else everything & ~unused)
    made = _streams(unit, {"i": passes}, {})
    inputs = dict(made.inputs)
    for name, sent in tokens.items():  # the place is free when the pass before has begun
        begun = [number for _, number in sent]
        inputs[name] = Sent([word for word, _ in sent], gate=("i",), after=begun)
    memories = {
        "queries": Answers(
            "queries__en",
            ("queries__address", "queries__bank"),
            ("queries__data",),
            asked["queries"],
        ),
        "probabilities": Answers(
            "probabilities__en",
            ("probabilities__row", "probabilities__bank"),
            ("probabilities__digits", "probabilities__rescale"),
            asked["probabilities"],
        ),
    }
    cycles = 500 + 8 * len(rows) + 40 * len(passes)
    return Vectors(inputs, {"o": Expected(rows, masks=masks)}, cycles, memories)


def _normalizer(unit: Normalizer, n: int, rng: random.Random) -> Vectors:
    """Divide ``n`` query blocks; sums of 0 and quotients beyond the largest are among them.

    In every other turn over the slots a row's reciprocal comes late: when all outputs of the rows
    before have left. Otherwise it comes as early as it may, with the query block before.
    """
    p = unit.parameters
    most = (1 << p["acc_width"] - 1) - 1
    sum_width = max(p["acc_width"] - p["stationary_width"] + 1, 1)
    blocks = _query_blocks(unit, n, rng)
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
                [max(-most, min(most, total * value)) for value in _some(rng, -200, 200, columns)]
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
    made = _streams(
        unit,
        {"i": blocks, "recip": factors, "data": words},
        {"read": places, "o": beats, "done": slots},
    )
    asked = list(range(1, len(words) + 1))
    data = Sent(_plain(made.inputs["data"]), gate=("read",), after=asked)
    recip = Sent(_plain(made.inputs["recip"]), gate=("o",), after=after)
    inputs = {**made.inputs, "recip": recip, "data": data}
    return Vectors(inputs, made.outputs, made.max_cycles + 40 * (n + len(factors)))


def _row(unit: RowUnit, n: int, rng: random.Random) -> Vectors:
    """Take ``n`` steps in turn over the slots, with scores of all sizes."""
    p = unit.parameters
    names = set(p) - {"block_rows", "row_width", "slots"}
    numerics = Numerics(**{name: p[name] for name in names})
    bits, address_bits = numerics.score_width - 1, len(unit.r.address)
    chunk_bits = (p["size"] // p["row_width"] - 1).bit_length()
    states: dict[int, RowState] = {}
    steps, answers, probabilities, sums = [], [], [], []
    for number in range(n):
        slot = number % p["slots"]
        first, last = slot not in states, number >= n - p["slots"] or rng.random() < 0.3
        if first:
            states[slot] = RowState(rng.randint(1, p["block_rows"]), numerics)
        state = states[slot]
        n_rows = len(state.total)
        scores = _between(rng, -1 << bits, (1 << bits) - 1, (n_rows, p["size"]))
        mantissa = rng.randint(1 << 16, (1 << 17) - 1)
        shift = min(63, max(0, bits + 17 - numerics.fraction - rng.randint(2, 6)))
        causal, keys = rng.getrandbits(1), rng.randint(0, p["size"])
        diagonal = min(rng.randint(-n_rows - 1, p["size"] + 1), 2 * p["tokens"] - 1)
        diagonal = max(diagonal, -2 * p["tokens"])
        seen = visible_keys(n_rows, keys, numerics, diagonal=diagonal if causal else None)
        made = state.step(base2_scores(scores, mantissa, shift, numerics), seen)
        digits, width = split(made.p, numerics), p["row_width"]
        for row, chunk in product(range(n_rows), range(p["size"] // width)):
            part = digits[:, row, chunk * width : (chunk + 1) * width].T & 255
            old, new = int(made.old_shift[row]), int(made.new_shift[row])
            where = {"bank": number % 2, "row": row, "chunk": chunk}
            rescale = {"amount": max(old, new), "of_new": int(new > 0)}
            probabilities.append(where | {"digits": part.tolist(), "rescale": rescale})
            found = scores[row, chunk * width : (chunk + 1) * width].tolist()
            at = chunk | row << chunk_bits | number % 2 << address_bits
            answers.append((at, to_bits(unit.r.data.shape(), found)))
        if last:
            tags = ({"slot": slot, "row": row} for row in range(n_rows))
            sums += [{"l": int(x), "tag": tag} for x, tag in zip(state.total, tags, strict=True)]
            del states[slot]
        steps.append(
            {
                **{"first": first, "last": last, "slot": slot, "rows": n_rows, "d_tiles": 1},
                **{"causal": causal, "diagonal": diagonal, "mantissa": mantissa, "shift": shift},
                **{"keys": keys, "bank": number % 2},
            }
        )
    banks = [{"bank": number % 2} for number in range(n)]
    outputs = {"released": banks, "o_p": probabilities, "o_sum": sums, "done": banks}
    made_streams = _streams(unit, {"step": steps}, outputs)
    memory = Answers("r__en", ("r__address", "r__bank"), ("r__data",), answers)
    cycles = made_streams.max_cycles + 60 * n
    return Vectors(made_streams.inputs, made_streams.outputs, cycles, {"r": memory})


def _lane(unit: Lane, n: int, rng: random.Random) -> Vectors:
    """Do ``n`` attention calls."""
    parameters = dict(unit.parameters)
    serial = "+serial" if parameters.pop("runtime_precision") else ""
    kind = f"{parameters.pop('matrix')}{serial}+{parameters.pop('memory')}"
    core = Core(lanes=(kind,), **parameters)
    pass_over(core)
    made = _core(core, n, rng)
    # A core of one lane has the same streams, but for the bit that says which lanes get a tile.
    inputs = {
        name: [word >> 1 for word in _plain(words)] if name in ("i_key", "i_value") else words
        for name, words in made.inputs.items()
    }
    return Vectors(inputs, made.outputs, made.max_cycles)


def _core(unit: Core, n: int, _: random.Random) -> Vectors:
    """Do ``n`` attention calls."""
    from .core_vectors import core_vectors

    lane = unit.lane_parameters
    description = read_chip(
        {
            "name": "unit",
            "clock_mhz": 1.0,
            "lanes": [{**lane_kind(kind), "n": 1} for kind in unit.parameters["lanes"]],
            "block": lane["block_rows"],
            **{name: lane[name] for name in ("size", "head_dim", "tokens")},
            **{name: lane[name] for name in ("row_width", "out_width")},
            **{name: lane[name] for name in ("stream_width", "stationary_width")},
            "softmax": {name: lane[name] for name in ("p_width", "segments", "fraction")},
        }
    )
    return core_vectors(description, unit, n)


def _streams(unit: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Vectors:
    """Return vectors of plain streams."""

    def words(name: str, items: list[Any]) -> list[int]:
        shape = getattr(unit, name).payload.shape()
        return [to_bits(shape, item) for item in items]

    sent = {name: words(name, items) for name, items in inputs.items()}
    back = {name: Expected(words(name, items)) for name, items in outputs.items()}
    n_words = sum(map(len, sent.values())) + sum(len(x.words) for x in back.values())
    return Vectors(sent, back, 500 + 8 * n_words)


def _plain(words: Any) -> list[int]:
    assert isinstance(words, list)
    return words


def _number(rng: random.Random, number: Fixed) -> int:
    low, high = number.min_raw, number.max_raw
    return rng.choice([low, high, rng.randint(low, high)])


def _some(rng: random.Random, low: int, high: int, n: int) -> list[int]:
    return [rng.choice([low, high, 0, rng.randint(low, high)]) for _ in range(n)]


def _between(rng: random.Random, low: int, high: int, shape: tuple[int, ...]) -> Ints:
    """Return random integers; both ends turn up often."""
    numbers = [rng.choice([low, high, rng.randint(low, high)]) for _ in range(int(np.prod(shape)))]
    return np.array(numbers, np.int64).reshape(shape)


def _ints(rng: random.Random, *shape: int) -> Ints:
    return _between(rng, -128, 127, shape)


MAKERS: dict[type[Component], Any] = {
    Core: _core,
    Exp2: _exp2,
    Feeder: _feeder,
    Lane: _lane,
    Mask: _mask,
    Normalizer: _normalizer,
    OutputAccumulator: _outputs,
    PassScheduler: _passes,
    ProbabilityBuffer: _probabilities,
    QueryBuffer: _queries,
    RowUnit: _row,
    RunningMaximum: _maximum,
    RunningSum: _sum,
    Scale: _scale,
    ScoreAccumulator: _scores,
    StepExpander: _steps,
    TileLoader: _loader,
}
"""What makes ``n`` test cases of a component."""
