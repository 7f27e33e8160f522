"""Synthesize the points of the fit that have changed, and keep what came out."""

import dataclasses
import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qkloom.gen.emit import emit
from qkloom.gen.estimate.content import find_content
from qkloom.gen.synthesis import find_target, run
from qkloom.gen.synthesis.netlist import Netlist
from qkloom.rtl.component import Component
from qkloom.tb.design import Design
from qkloom.tb.engines.cache import default_cache
from qkloom.tb.yosys import FullYosys

from .points import Point

__all__ = ["POINTS", "emitted", "read_points", "synthesize_points", "update_points"]

TOGETHER, LARGE = 400_000, 80_000
"""Bytes of RTLIL of points that are synthesized together, and of modules that have a run each."""

POINTS = Path(__file__).parent / "points.json"


def read_points() -> list[dict[str, Any]]:
    """Return the points as they were synthesized; none if there are none."""
    return json.loads(POINTS.read_text()) if POINTS.exists() else []


def emitted(point: Point) -> tuple[Component, Design]:
    """Return the hardware of a point."""
    component = point.build()
    design = emit(component, target=find_target("xcup").platform)
    if point.top_only:
        top = re.search(
            rf"^attribute \\top 1\n(?:attribute [^\n]*\n)*module \\{design.name}\n.*?^end\n",
            design.rtlil,
            re.M | re.S,
        )
        others = re.findall(r"^module (\S+)$", design.rtlil, re.M)
        boxes = [_box(design.rtlil, name) for name in others if name != f"\\{design.name}"]
        design = dataclasses.replace(design, rtlil=top[0] + "".join(boxes))  # type: ignore[index]
    return component, design


def _box(rtlil: str, name: str) -> str:
    """Return a module without what is in it."""
    text = re.search(rf"^module {re.escape(name)}\n.*?^end\n", rtlil, re.M | re.S)[0]  # type: ignore[index]
    ports = re.findall(r"^  wire .*\b(?:input|output|inout) \d+ .*\n", text, re.M)
    return f"module {name}\n{''.join(ports)}end\n"


def synthesize_points(
    of: Sequence[tuple[Point, Component, Design]], yosys: FullYosys
) -> list[dict[str, Any]]:
    """Return the counts of some points, and of each distinct module in each on its own.

    They share the start of Yosys, which takes longer than a small point. Names that it has made
    before decide ties in its mapping, so that a count may depend on the others by a LUT.
    """
    target = find_target("xcup")
    modules = {name: text for _, _, design in of for name, text in _texts(design).items()}
    everything = dataclasses.replace(of[0][2], rtlil="".join(modules.values()))
    netlists = run.run_synthesis(
        everything, target, yosys, default_cache(), lambda step, share: None
    )
    found = []
    for point, component, design in of:
        netlist = Netlist(design.name, netlists.modules)
        counts = [
            {"class": type(part).__name__, "own": target.count(_own(netlist, name))}
            for name, part in _modules(netlist, component, top_only=point.top_only)
        ]
        total = counts[0]["own"] if point.top_only else target.count(netlist.cells[netlist.top])
        found.append({"total": total, "modules": counts})
    return found


def _texts(design: Design) -> dict[str, str]:
    """Return the modules of a design by name."""
    texts = re.findall(r"^(?:attribute [^\n]*\n)*module \S+\n.*?^end\n", design.rtlil, re.M | re.S)
    return {re.search(r"^module (\S+)$", text, re.M)[1]: text for text in texts}  # type: ignore[index]


def _modules(
    netlist: Netlist, component: Component, *, top_only: bool
) -> Iterator[tuple[str, Component]]:
    """Yield distinct modules with their components, parents first."""
    seen = set()

    def walk(name: str, component: Component) -> Iterator[tuple[str, Component]]:
        if name in seen:
            return
        seen.add(name)
        yield name, component
        cells = {cell.name: cell.type for cell in netlist.modules[name].cells}
        if top_only or not any(kind in netlist.modules for kind in cells.values()):
            return
        for instance, part in find_content(component).parts:
            if (kind := cells.get(instance)) in netlist.modules:
                yield from walk(kind, part)

    yield from walk(netlist.top, component)


def _own(netlist: Netlist, name: str) -> Counter[str]:
    """Count the primitives of a module without those of the modules in it."""
    return Counter(
        cell.type for cell in netlist.modules[name].cells if cell.type not in netlist.modules
    )


def update_points(
    points: list[Point], yosys: FullYosys, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Synthesize what has changed; return and keep all points."""
    # Fewer starts are faster.
    run.PROCESSES, run.LARGE_BYTES, run.BATCH_BYTES = 2, LARGE, TOGETHER // 4
    known = {point["command"]: point for point in read_points()}
    waiting: list[tuple[Point, Component, Design]] = []
    texts: dict[str, str] = {}

    def synthesize() -> None:
        for (point, _, design), counts in zip(
            waiting, synthesize_points(waiting, yosys), strict=True
        ):
            known[point.command] = {
                "command": point.command,
                "digest": design.digest,
                "yosys": yosys.version,
                "date": datetime.date.today().isoformat(),
                **counts,
            }
        waiting.clear()
        texts.clear()
        write_points([known[p.command] for p in points if p.command in known])

    for number, point in enumerate(points):
        component, design = emitted(point)
        kept = known.get(point.command)
        if kept is None or (kept["digest"], kept["yosys"]) != (design.digest, yosys.version):
            more = _texts(design)
            clashes = any(texts.get(name, text) != text for name, text in more.items())
            if waiting and (clashes or sum(map(len, [*texts.values(), *more.values()])) > TOGETHER):
                tell(f"{number}/{len(points)} points; together: {len(waiting)}")
                synthesize()
            waiting.append((point, component, design))
            texts.update(more)
    if waiting:
        synthesize()
    found = []
    for point in points:
        known[point.command] |= {"group": point.group, "top_only": point.top_only}
        found.append(known[point.command])
    write_points(found)
    return found


def write_points(points: list[dict[str, Any]]) -> None:
    """Write points, one module a line."""
    lines = []
    for point in points:
        head = {name: value for name, value in point.items() if name != "modules"}
        modules = ",\n  ".join(json.dumps(module) for module in point["modules"])
        lines.append(f'{json.dumps(head)[:-1]}, "modules": [\n  {modules}]}}')
    aside = POINTS.with_suffix(".new")
    aside.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    aside.rename(POINTS)
