"""Test vectors of lanes, and of what orders their steps."""

import random
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

from amaranth.hdl import Shape

from ...rtl.component import Component, pass_over
from ...rtl.core import Core
from ...rtl.lane.feeder import Feeder
from ...rtl.lane.lane import Lane, lane_kind
from ...rtl.lane.schedule import PassScheduler, StepExpander
from ...tb.lane.schedule import passes_of, steps_of
from ...tb.simulate import to_bits
from ..chip import read_chip
from .bench import Answers, Expected, Sent, Vectors
from .jobs import query_blocks, random_job
from .words import between, ints, plain, stream_vectors

__all__ = ["MAKERS"]


def _steps(unit: StepExpander, n: int, rng: random.Random) -> Vectors:
    """Cut ``n`` random jobs."""
    jobs = [random_job(unit, rng) for _ in range(n)]
    return stream_vectors(unit, {"i": jobs}, {"o": steps_of(jobs, size=unit.parameters["size"])})


def _passes(unit: PassScheduler, n: int, rng: random.Random) -> Vectors:
    """Order the steps of ``n`` random jobs.

    Whether the values of a step come behind the keys of the next depends on when that one comes;
    keys and values have an order of their own in any case.
    """
    steps = steps_of([random_job(unit, rng) for _ in range(n)], size=unit.parameters["size"])
    shape = unit.passes.payload.shape()
    assert shape["value"].offset == 0
    passes = [to_bits(shape, x) for v in (0, 1) for s in steps for x in passes_of(s, value=v)]
    made = stream_vectors(unit, {"i": steps}, {"steps": steps})
    outputs = {**made.outputs, "passes": Expected(passes, key_width=1)}
    return Vectors(made.inputs, outputs, made.max_cycles + 8 * len(passes))


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
        for k, block in enumerate(query_blocks(unit, n, rng))
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
                    between(rng, 0, 255, (p["size"], p["digits"])).tolist(),
                    {"amount": rng.randrange(64), "of_new": rng.getrandbits(1)},
                )
                for _ in range(step["rows"])
            ]
        elif step["first"]:
            tokens["loaded"].append((to_bits(loaded, {"slot": step["slot"]}), after))
            for at in product(range(step["rows"]), range(step["d_tiles"])):
                queries[step["slot"], at[1] | at[0] << tile_bits] = ints(rng, 1, p["size"])[
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
    made = stream_vectors(unit, {"i": passes}, {})
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
        name: [word >> 1 for word in plain(words)] if name in ("i_key", "i_value") else words
        for name, words in made.inputs.items()
    }
    return Vectors(inputs, made.outputs, made.max_cycles)


def _core(unit: Core, n: int, _: random.Random) -> Vectors:
    """Do ``n`` attention calls."""
    from .core import core_vectors

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


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    Core: _core,
    Feeder: _feeder,
    Lane: _lane,
    PassScheduler: _passes,
    StepExpander: _steps,
}
"""What makes ``n`` test cases of a component."""
