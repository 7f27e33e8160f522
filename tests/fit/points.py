"""The points of the fit: which components are synthesized, chosen by a seed.

A point is a command line: a unit and its options, as `qkloom synth` takes them; or a preset, what
differs from it, and a part.
"""

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Shape

from qkloom.gen.chip import default_out_width, default_p_width, default_row_width
from qkloom.gen.estimate.content import find_content
from qkloom.gen.units import find_units
from qkloom.rtl.component import Component
from qkloom.rtl.formats import NumberFormat
from qkloom.rtl.lane.lane import Lane
from qkloom.rtl.lane.numerics import Numerics

from .chips import BASE, build_part, choose_parts

__all__ = ["Point", "choose_points"]

SEED = 3

UNFITTED_MATRIX, UNFITTED_LANE = 48, 16
"""Sizes of matrix units, and of lanes, that are never fitted."""
UNFITTED_PRECISION = (4, 8)
"""Bits of streaming and stationary operands that are never fitted."""

PRECISIONS = [(8, 8), (8, 4), (4, 8), (4, 4)]
KINDS: list[dict[str, str]] = [
    {"kind": "plain"},
    {"kind": "dsp"},
    {"kind": "lut"},
    {"kind": "lut", "planes": "serial"},
]
SIZES = (4, 5, 7, 8, 12, 16, 17, 20, 24, 32, 40, 64)
LANES = (8, 4, 32, 16, 8, 4)
LANE_PRECISIONS = [(8, 8), (8, 4), (8, 8), (4, 4), (8, 8), (4, 8)]

SMALL_LANES = (8, 4, 8)
# Units of a lane, by the instance in it, or in one of these.
CONTAINERS = ("row_unit", "start")
UNITS = (
    "expander", "scheduler", "loader", "queries", "probabilities", "feeder", "scores", "outputs",
    "normalizer", "reciprocal", "start.queue", "finished", "steps",
    "row_unit.scale", "row_unit.mask", "row_unit.maximum", "row_unit.exp2_0", "row_unit.total",
)  # fmt: skip
# Those that are small and differ from lane to lane.
SMALL_UNITS = (
    "loader", "feeder", "scores", "outputs", "reciprocal",
    "row_unit.scale", "row_unit.maximum", "row_unit.exp2_0", "row_unit.total",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A component to synthesize.

    Members
    -------
    unit : str
        Name of the unit, or of the preset.
    options : mapping
        Its options as text.
    group : str
        ``size`` or ``precision`` when it is never fitted because of that; ``held out`` or
        ``fitted``.
    top_only : bool
        Whether only the outermost module counts, so that what is in it need not be synthesized.
    """

    unit: str
    options: Mapping[str, str]
    group: str
    top_only: bool = False

    @property
    def command(self) -> str:
        """What a terminal takes; it does not take parts of chips."""
        return " ".join([self.unit, *(f"--{name} {value}" for name, value in self.options.items())])

    def build(self) -> Component:
        """Return the component."""
        if self.unit == BASE:
            return build_part(self.options)
        return find_units()[self.unit].build(self.options)


def choose_points() -> list[Point]:
    """Return all points, in an order that is the same in every run."""
    rng = random.Random(SEED)
    chosen: dict[str, tuple[str, dict[str, str], str, bool]] = {}
    for unit, options, group, top_only in [
        *_matrices(rng),
        *_lanes(rng, LANES, UNITS),
        *_cores(rng),
        *_lanes(rng, SMALL_LANES, SMALL_UNITS),
        *_output_arrays(random.Random(SEED)),
        *choose_parts(),
    ]:
        command = " ".join([unit, *map(" ".join, options.items())])
        chosen.setdefault(command, (unit, options, group, top_only))
    # A fifth of what may be fitted is held out, drawn per unit so that each has some.
    by_unit: dict[str, list[str]] = {}
    for command, (unit, options, group, _) in chosen.items():
        if not group:
            kind = options.get("kind", options.get("part", ""))
            by_unit.setdefault(unit + kind, []).append(command)
    held_out = {
        command
        for commands in by_unit.values()
        for command in rng.sample(commands, round(len(commands) / 5))
    }
    return [
        Point(unit, options, group or ("held out" if command in held_out else "fitted"), top_only)
        for command, (unit, options, group, top_only) in chosen.items()
    ]


def _matrices(rng: random.Random) -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Yield matrix units: every kind with every precision, signs mixed and not."""
    for kind in KINDS:
        for stream, stationary in PRECISIONS:
            sizes = rng.sample(SIZES, 4)
            squares = [(size, size) for size in sizes[:2]]
            for rows, cols in [*squares, (sizes[2], sizes[3]), (UNFITTED_MATRIX,) * 2]:
                if (stream, stationary) == UNFITTED_PRECISION:
                    group = "precision"
                else:
                    group = "size" if UNFITTED_MATRIX in (rows, cols) else ""
                options = {
                    **kind,
                    "rows": str(rows),
                    "cols": str(cols),
                    "stream": f"i{stream}",
                    "stationary": f"i{stationary}",
                    "mixed-signs": rng.choice(("true", "false")),
                    "tag": str(rng.choice((0, 20, 22))),
                }
                yield "matrix", options, group, False


def _output_arrays(rng: random.Random) -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Yield output-stationary arrays: both multipliers with every precision."""
    for multiplier in ("plain", "lut"):
        for a, b in PRECISIONS:
            for rows, cols in rng.sample([(4, 6), (5, 8), (8, 3), (12, 7), (16, 4)], 2):
                options = {
                    "rows": str(rows),
                    "cols": str(cols),
                    "a": f"i{a}",
                    "b": f"i{b}",
                    "depth": str(rng.choice((32, 1024, 4096))),
                    "multiplier": multiplier,
                }
                group = "precision" if (a, b) == UNFITTED_PRECISION else ""
                yield "output-stationary", options, group, False


def _lanes(
    rng: random.Random, sizes: Sequence[int], names: Sequence[str]
) -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Yield units of lanes; of lanes with all units their outermost modules too."""
    units = {unit.component: unit for unit in find_units().values()}
    for number, size in enumerate(sizes):
        lane = _lane(rng, size, LANE_PRECISIONS[number * 7 % 6])
        parameters = lane.parameters
        group = ""
        if size == UNFITTED_LANE:
            group = "size"
        elif (parameters["stream_width"], parameters["stationary_width"]) == UNFITTED_PRECISION:
            group = "precision"
        parts = dict(find_content(lane).parts)
        for name in CONTAINERS:
            for inner, part in find_content(parts[name]).parts:
                parts[f"{name}.{inner}"] = part
        for name in names:
            unit = units[type(parts[name])]
            yield unit.name, _spell(parts[name]), group, False
        if names is UNITS and number % 4 != 3:
            for component in (lane, parts["row_unit"]):
                yield units[type(component)].name, _spell(component), group, True


def _lane(rng: random.Random, size: int, precision: tuple[int, int]) -> Lane:
    """Draw the parameters of a lane; half of them are what presets have."""
    stream, stationary = precision
    usual = rng.random() < 0.5
    p_width = default_p_width(stream) if usual else rng.choice(Numerics.p_widths(stream))
    digits = 1 if p_width <= stream else 2
    block_rows = size * rng.choice((1, 2, 4, 4, 8))
    return Lane(
        matrix="plain",
        size=size,
        block_rows=block_rows,
        head_dim=max(size, rng.choice((32, 64, 128))),
        tokens=1 << rng.choice((10, 12, 14, 17, 20)),
        p_width=p_width,
        segments=8 if usual else rng.choice((4, 8, 16, 32)),
        fraction=10 if usual else rng.choice((8, 9, 10, 11, 12)),
        row_width=default_row_width(size, digits) if usual else size // rng.choice((1, 2, 4)),
        out_width=default_out_width(size, block_rows, digits) if usual else size // 4,
        memory=rng.choice(("auto", "auto", "ultra")),
        stream_width=stream,
        stationary_width=stationary,
    )


def _cores(rng: random.Random) -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Yield what shares streams among lanes, and queues."""
    for n in (1, 2, 4, 7, 12):
        for unit in ("route", "multicast", "merge"):
            options = {"shape": str(rng.choice((33, 65, 86, 129, 193, 257))), "n": str(n)}
            yield unit, options, "", False
    for depth in (1, 2, 3, 4, 6, 10, 12):
        options = {"shape": str(rng.choice((1, 19, 64, 86, 193, 279))), "depth": str(depth)}
        yield "queue", options, "", False


def _spell(component: Component) -> dict[str, str]:
    """Return the parameters of a component as a terminal takes them."""
    defaults = inspect.signature(type(component).__init__).parameters
    return {
        name.replace("_", "-"): _word(value)
        for name, value in component.parameters.items()
        # What is off by default is not spoken of.
        if value or defaults[name].default not in (None, False)
    }


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | str | NumberFormat):
        return str(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(Shape.cast(value).width)
