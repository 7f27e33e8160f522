"""Points of the fit that are parts of chips: variants of a preset, and what is around their cores.

Many parameters of these parts are tables that no terminal takes; a description has them all.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.estimate.content import find_content
from qkloom.rtl.component import Component
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.rtl.lane.far import FarLane

__all__ = ["BASE", "build_part", "choose_parts"]

BASE = "u280-tiny"

VARIANTS: list[tuple[str, dict[str, int]]] = [
    ("", {}),
    ("size", dict(lanes=4, size=16, block=128, head_dim=128, tokens=131072, channels=4)),
    ("", dict(lanes=12, size=32, block=128, head_dim=128, tokens=131072, channels=16)),
    ("precision", dict(lanes=5, stream_width=4, tokens=16384, channels=4, data_width=128, gemm=0)),
    ("", dict(lanes=3, tokens=8192, heads=16, gemm=0)),
]
"""Changes of the preset, and the group of those that are never fitted: the size and the precision
that lanes are not fitted to either."""

FETCHERS = [
    dict(lanes=1, size=4, block=8, head_dim=32, tokens=512, heads=4, channels=1),
    dict(lanes=3, stationary_width=4, tokens=4096, channels=8, data_width=64, gemm=0),
]
"""Changes for fetchers alone, whose logic depends on beats and rows: beats of 128 and 64 bits."""

PARTS = (
    "control", "intake", "overlap", "supervisor", "tally_cycles", "tally_o_bytes",
    "engine.sequencer", "engine.q", "engine.k", "engine.o",
)  # fmt: skip
OF_PRODUCTS = [
    ("", dict(lanes=1)),
    ("size", dict(lanes=1, size=16, block=128, head_dim=128, tokens=131072)),
    ("", dict(lanes=2, size=32, block=128, head_dim=128, tokens=131072)),
    ("", dict(lanes=2, size=4, block=8, head_dim=32, tokens=512, heads=4)),
]
"""Changes for what lanes have for products of matrices, and for what differs in them."""

LANE_PARTS = ("deposit", "requantizer", "outputs", "scheduler", "normalizer", "start")

OUTERMOST = ("kernel", "engine")
"""Parts of which only the outermost module counts, of the preset itself: around large arrays they
take long to emit."""


def choose_parts() -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Yield what is around the core of each variant, piece by piece."""
    for group, changes in VARIANTS:
        options = {name.replace("_", "-"): str(value) for name, value in changes.items()}
        for part in PARTS if changes else (*PARTS, *OUTERMOST):
            yield BASE, {"part": part, **options}, group, part in OUTERMOST
    for group, changes in OF_PRODUCTS:
        options = {name.replace("_", "-"): str(value) for name, value in changes.items()}
        for part in LANE_PARTS:
            yield BASE, {"part": f"lane.{part}", **options}, group, False
    for changes in FETCHERS:
        options = {name.replace("_", "-"): str(value) for name, value in changes.items()}
        for part in ("engine.q", "engine.k"):
            yield BASE, {"part": part, **options}, "", False


def build_part(options: Mapping[str, str]) -> Component:
    """Return a part of a variant; ``part`` is its path in the kernel, ``kernel`` all of it."""
    changes = tuple((name, int(value)) for name, value in options.items() if name != "part")
    part = _parts(changes)[options["part"]]
    return type(part)(**part.parameters)


@cache
def _parts(changes: tuple[tuple[str, int], ...]) -> dict[str, Component]:
    """Return a kernel and what is in it and in its engine, by path."""
    kernel = Kernel(**_variant(dict(changes)).kernel_parameters)
    parts = {"kernel": kernel, **dict(find_content(kernel).parts)}
    inside = dict(find_content(parts["engine"]).parts)
    lane = dict(find_content(inside["core"]).parts)["lane_0"]
    of_lane = () if isinstance(lane, FarLane) else find_content(lane).parts
    return (
        parts
        | {f"engine.{name}": part for name, part in inside.items()}
        | {f"lane.{name}": part for name, part in of_lane}
    )


def _variant(changes: Mapping[str, int]) -> ChipDescription:
    """Return the preset with some changes, by the words of a command."""
    chip = read_chip(BASE)
    memory = {**chip.memory.model_dump(exclude_none=True)}
    tables = {"lanes": [{"matrix": "plain", "n": changes.get("lanes", chip.n_lanes)}]}
    for name, value in changes.items():
        key = name.replace("-", "_")
        if key in type(chip.memory).model_fields:
            memory[key] = value
        elif key != "lanes":
            tables[key] = bool(value) if key == "gemm" else value  # type: ignore[assignment]
    return chip.replace(**tables, memory=memory)
