"""What places and routes a design out of context, and simulates it before and after that."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..template import check_name, fill, tcl_list

__all__ = ["SLRS", "floorplan_xdc", "spread_over_slrs", "vivado_files"]

SLRS = ("SLR0", "SLR1", "SLR2")
"""Dies of a U280 (UG1120, Alveo U280); the HBM stacks lie at SLR0."""

_HERE = Path(__file__).parent
_CELL = re.compile(r"[A-Za-z0-9_/.\[\]*]+")


def vivado_files(
    *,
    top: str,
    sources: Sequence[str],
    clock_mhz: float,
    part: str = "xcu280-fsvh2892-2L-e",
    clock: str = "ap_clk",
    groups: Mapping[str, Sequence[str]] | None = None,
    crossings: Sequence[str] = (),
    bench: Sequence[str] = (),
    bench_top: str = "testbench",
    bench_folder: str = "sim",
) -> dict[str, str]:
    """Return the scripts and constraints by path, all in ``vivado/``.

    Parameters
    ----------
    top : str
        Name of the top module.
    sources : sequence of str
        Verilog files, from the folder above ``vivado``.
    clock_mhz : float
        Clock frequency.
    part : str
        The device.
    clock : str
        Port of the clock.
    groups : mapping, optional
        Cells of each SLR, by their paths with ``/``; see :func:`floorplan_xdc`. With none, all are
        placed anywhere.
    crossings : sequence of str
        Paths of the registers at both sides of the lines between SLRs, ``*`` for any letters.
    bench : sequence of str
        SystemVerilog files of the self-checking testbench, from ``bench_folder``. With none, there
        are no simulation scripts.
    bench_top : str
        Its module.
    bench_folder : str
        Where it looks for its vectors, from the folder above ``vivado``.

    Raises
    ------
    ValueError
        When a name or a path is none, the clock does not tick, or there is no such SLR.
    """
    check_name("Top module", top)
    check_name("Clock port", clock)
    if not clock_mhz > 0:
        raise ValueError(f"Clock frequency must be above 0 MHz, not {clock_mhz!r}")
    files = {
        "vivado/clock.xdc": fill(
            _HERE / "clock.xdc", clock=clock, period=f"{1000 / clock_mhz:.3f}", mhz=f"{clock_mhz:g}"
        ),
        "vivado/floorplan.xdc": floorplan_xdc(groups or {}, crossings),
        "vivado/implement.tcl": fill(
            _HERE / "implement.tcl",
            top=top,
            part=part,
            sources=tcl_list(sources),
        ),
    }
    if bench:
        files["vivado/simulate.tcl"] = fill(
            _HERE / "simulate.tcl",
            top=top,
            sources=tcl_list(sources),
            bench=tcl_list(bench),
            bench_top=check_name("Testbench", bench_top),
            bench_folder=bench_folder,
        )
    return files


def spread_over_slrs(cells: Sequence[str], *, n: int = len(SLRS)) -> dict[str, list[str]]:
    """Return cells in ``n`` groups of neighbours, as equal as can be, from SLR0 up."""
    if not 1 <= n <= len(SLRS):
        raise ValueError(f"SLRs must be 1 to {len(SLRS)}, not {n!r}")
    bounds = [round(len(cells) * k / n) for k in range(n + 1)]
    return {SLRS[k]: list(cells[bounds[k] : bounds[k + 1]]) for k in range(n)}


def floorplan_xdc(groups: Mapping[str, Sequence[str]], crossings: Sequence[str] = ()) -> str:
    """Return constraints that keep each group of cells in its SLR.

    XDC has no loops (UG903), so that each line stands for itself. A register between SLRs that is
    marked for it is placed in a Laguna site, at the end of a line to the other die (UG912,
    USER_SLL_REG).
    """
    lines = ["# Where parts of the design are placed: a block for each die (SLR)."]
    for slr, cells in groups.items():
        if slr not in SLRS:
            raise ValueError(f"SLRs must be of {', '.join(SLRS)}, not {slr!r}")
        if not cells:
            continue
        block = f"pblock_{slr}"
        lines += ["", f"create_pblock {block}", f"resize_pblock {block} -add {slr}"]
        lines += [f"add_cells_to_pblock {block} [get_cells {{{_checked(cell)}}}]" for cell in cells]
    if crossings:
        lines += ["", "# Registers at both ends of the lines between dies."]
        lines += [
            "set_property USER_SLL_REG true "
            f"[get_cells -hierarchical -filter {{NAME =~ {_checked(cell)}}}]"
            for cell in crossings
        ]
    return "\n".join([*lines, ""])


def _checked(cell: str) -> str:
    if not _CELL.fullmatch(cell):
        raise ValueError(f"A cell must be a path as in core/lane_0, not {cell!r}")
    return cell
