"""Synthesize the points of the fit that have changed, and keep what came out."""

import dataclasses
import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
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

__all__ = ["POINTS", "emitted", "read_points", "synthesize_point", "update_points"]

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


def synthesize_point(
    component: Component, design: Design, yosys: FullYosys, *, top_only: bool
) -> dict[str, Any]:
    """Return the counts of a design, and of each distinct module in it on its own."""
    target = find_target("xcup")
    netlist = run.run_synthesis(design, target, yosys, default_cache(), lambda step, share: None)
    modules = [
        {"class": type(part).__name__, "own": target.count(_own(netlist, name))}
        for name, part in _modules(netlist, component)
    ]
    if top_only:
        return {"total": modules[0]["own"], "modules": modules[:1]}
    return {"total": target.count(netlist.cells[netlist.top]), "modules": modules}


def _modules(netlist: Netlist, component: Component) -> Iterator[tuple[str, Component]]:
    """Yield distinct modules with their components, parents first."""
    seen = set()

    def walk(name: str, component: Component) -> Iterator[tuple[str, Component]]:
        if name in seen:
            return
        seen.add(name)
        yield name, component
        cells = {cell.name: cell.type for cell in netlist.modules[name].cells}
        if not any(kind in netlist.modules for kind in cells.values()):
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
    run.PROCESSES = 1  # a machine that does this for an hour has other work too
    known = {point["command"]: point for point in read_points()}
    for number, point in enumerate(points):
        component, design = emitted(point)
        kept = known.get(point.command)
        if kept is None or (kept["digest"], kept["yosys"]) != (design.digest, yosys.version):
            tell(f"{number + 1}/{len(points)} {point.command}")
            kept = {
                "command": point.command,
                "digest": design.digest,
                "yosys": yosys.version,
                "date": datetime.date.today().isoformat(),
                **synthesize_point(component, design, yosys, top_only=point.top_only),
            }
        known[point.command] = {**kept, "group": point.group, "top_only": point.top_only}
        if number % 5 == 4 or number + 1 == len(points):
            write_points([known[p.command] for p in points if p.command in known])
    return [known[point.command] for point in points]


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
