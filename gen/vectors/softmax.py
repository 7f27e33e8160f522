"""Test vectors of the row unit and its pipelines."""

import random
from collections.abc import Callable, Mapping
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
from amaranth.hdl import Value

from ...rtl.component import Component
from ...rtl.formats import Integer
from ...rtl.lane.exp2 import Exp2
from ...rtl.lane.mask import Mask
from ...rtl.lane.maximum import RunningMaximum
from ...rtl.lane.numerics import Numerics
from ...rtl.lane.reciprocal import Reciprocal
from ...rtl.lane.row import RowUnit
from ...rtl.lane.scale import Scale
from ...rtl.lane.total import RunningSum
from ...tb.lane.exp2 import exp2
from ...tb.lane.reciprocal import exponent, reciprocal
from ...tb.lane.row import RowState, base2_scores, split, visible_keys
from ...tb.lane.running import RunningMaxima, RunningSums
from ...tb.simulate import to_bits
from .bench import Answers, Expected, Sent, Vectors
from .words import between, number_in, plain, stream_vectors, words_of

__all__ = ["MAKERS"]

Fields = Mapping[str, Any]


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
        scores = [number_in(rng, score) for _ in range(unit.parameters["row_width"])]
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
    made = stream_vectors(unit, {"i": items}, {"o": outputs})
    is_steady = not all(item["place"]["begin"] for item in items)
    sent = Sent(plain(made.inputs["i"]), is_steady=is_steady)
    return Vectors({"i": sent}, made.outputs, made.max_cycles)


def _row(unit: RowUnit, n: int, rng: random.Random) -> Vectors:
    """Take ``n`` steps in turn over the slots, with scores of all sizes."""
    p = unit.parameters
    names = set(p) - {"block_rows", "row_width", "slots", "taps"}
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
        scores = between(rng, -1 << bits, (1 << bits) - 1, (n_rows, p["size"]))
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
    made_streams = stream_vectors(unit, {"step": steps}, outputs)
    memory = Answers("r__en", ("r__address", "r__bank"), ("r__data",), answers)
    cycles = made_streams.max_cycles + 60 * n
    return Vectors(made_streams.inputs, made_streams.outputs, cycles, {"r": memory})


def _reciprocal(unit: Reciprocal, n: int, rng: random.Random) -> Vectors:
    """Divide by ``n`` row sums of every width."""
    tag_width = len(Value.cast(unit.i.payload.tag))
    totals = [rng.getrandbits(1 + case % unit.parameters["sum_width"]) or 1 for case in range(n)]
    tag = np.array([rng.getrandbits(tag_width) for _ in totals])
    e, r = exponent(totals), reciprocal(totals)
    outputs = words_of(unit.o, zero=False, e=e, r=r, tag=tag)
    cycles = 100 + 8 * n + unit.latency
    return Vectors({"i": words_of(unit.i, l=totals, tag=tag)}, {"o": Expected(outputs)}, cycles)


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    Exp2: _exp2,
    Mask: _mask,
    Reciprocal: _reciprocal,
    RowUnit: _row,
    RunningMaximum: _maximum,
    RunningSum: _sum,
    Scale: _scale,
}
"""What makes ``n`` test cases of a component."""
