"""Mutants of emitted hardware, made by Yosys' own ``mutate``: 100 of them in one design.

A mutant is one bit at one port of one cell that is inverted, stuck at 0 or 1, or mixed with its
neighbour. All of them are put into the design behind an input port that chooses one, 0 none: one
simulator is built for a hundred mutants.

Before that, constants are propagated and unused bits removed, as any synthesis does. Most mutants
of an unused bit would be the same hardware.
"""

import hashlib
import random
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from qkloom.tb.design import Design, Port
from qkloom.tb.yosys import find_full_yosys

__all__ = ["CONTROL", "WIDTH", "Mutant", "Mutated", "modules_of", "mutate", "run_yosys"]

CONTROL = "mutant"
"""Input port that chooses the mutant; 0 is the design as it was."""

WIDTH = 8
"""Bits of that port."""

TIMEOUT_SECONDS = 600

# Not mutated: the clock, which no component writes, and the constant resets of memories.
LEFT_OUT = re.compile(r"-port (\w*CLK|clk|RD_[AS]RST)\b")


MODES = ("inv", "const0", "const1", "cnot0", "cnot1")


@dataclass(frozen=True)
class Mutant:
    """One bit changed.

    Members
    -------
    number : int
        Value of the control port.
    options : str
        What ``mutate`` is told to do.
    place : str
        Module, cell, port and bit, and what happens there: the same in every run. A cell without a
        name is called after what it drives.
    """

    number: int
    options: str
    place: str


@dataclass(frozen=True)
class Mutated:
    """A design with all its mutants.

    Members
    -------
    design : Design
        To simulate; it has the control port.
    mutants : tuple of Mutant
        Numbered from 1.
    base : str
        RTLIL before mutation.
    n_possible : int
        Mutants that could have been chosen.
    """

    design: Design
    mutants: tuple[Mutant, ...]
    base: str
    n_possible: int


def modules_of(design: Design) -> list[str]:
    """Return the names of all modules in a design."""
    return re.findall(r"^module \\(\S+)$", design.rtlil, re.MULTILINE)


def mutate(design: Design, modules: list[str], *, n: int, reserve: int = 0, seed: int) -> Mutated:
    """Choose ``n`` mutants in some modules of a design, a few more if there are, and put them in.

    Each one is chosen by drawing a cell first, and then one of its mutants: a comparison that
    decides about everything counts as much as an adder of 40 bits.

    Raises
    ------
    ToolError
        When Yosys is missing or fails.
    ValueError
        When the modules have fewer mutants.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(design.rtlil, encoding="utf-8")
        run_yosys(
            folder,
            "read_rtlil design.il",
            f"hierarchy -top {design.name}",
            "proc -norom",
            "pmuxtree",
            "memory_collect",
            "opt -full",
            "wreduce -memx",
            "opt_clean",
            "write_rtlil base.il",
            f"mutate -list 0 -seed {seed} -o all.txt {' '.join(modules)}",
        )
        base = (folder / "base.il").read_text()
        lines = (folder / "all.txt").read_text().splitlines()
        fixed = _asynchronous(base)
        possible = [
            line
            for line in lines
            if not LEFT_OUT.search(line) and line.partition(" -portbit ")[0] not in fixed
        ]
        if len(possible) < n:
            raise ValueError(f"There are only {len(possible)} mutants, not {n}")
        n = min(n + reserve, len(possible))
        chosen = _choose(possible, n, random.Random(seed))
        driven = _driven(base)
        mutants = tuple(
            Mutant(number, line.removeprefix("mutate "), _place(line, driven))
            for number, line in enumerate(chosen, 1)
        )
        # "none" makes the control port, should the mutants be in submodules alone.
        commands = [f"mutate -ctrl {CONTROL} {WIDTH} 0 -mode none -module {design.name}"]
        commands += [f"mutate -ctrl {CONTROL} {WIDTH} {x.number} {x.options}" for x in mutants]
        run_yosys(folder, "read_rtlil base.il", *commands, "write_rtlil mutated.il")
        text = (folder / "mutated.il").read_text()
        return Mutated(
            replace(
                design,
                rtlil=text,
                verilog=None,
                ports=(*design.ports, Port(CONTROL, WIDTH, is_input=True, is_signed=False)),
                digest=hashlib.sha256(text.encode()).hexdigest(),
            ),
            mutants,
            base,
            len(possible),
        )


def _driven(base: str) -> dict[tuple[str, str], str]:
    """Return what cells without a name drive, if that has one; by module and cell."""
    found = {}
    for module, body in re.findall(r"^module \\(\S+)$(.*?)^end$", base, re.MULTILINE | re.DOTALL):
        cells = re.findall(r"^  cell (\S+) (\$\S+)\n(.*?)^  end$", body, re.MULTILINE | re.DOTALL)
        for kind, cell, connections in cells:
            wire = re.search(r"connect \\[YQ] \\(\S+)(?: (\[\S+\]))?$", connections, re.MULTILINE)
            if wire:
                found[module, cell] = f"{wire[1]}{wire[2] or ''} = {kind}"
    return found


def _place(line: str, driven: dict[tuple[str, str], str]) -> str:
    found = dict(re.findall(r"-(\w+) (\S+)", line))
    module, cell = found["module"], found["cell"]
    with_bit = f" with bit {found['ctrlbit']}" if "ctrlbit" in found else ""
    return (
        f"{module}: {driven.get((module, cell), cell)}, "
        f"{found['port']}[{found['portbit']}] {found['mode']}{with_bit}"
    )


def _asynchronous(base: str) -> set[str]:
    """Return the beginnings of mutants of asynchronous read enables, which are constants."""
    found = set()
    for module, body in re.findall(r"^module \\(\S+)$(.*?)^end$", base, re.MULTILINE | re.DOTALL):
        cells = re.findall(
            r"^  cell \$mem_v2 \\?(\S+)\n(.*?)^  end$", body, re.MULTILINE | re.DOTALL
        )
        for cell, parameters in cells:
            if re.search(r"parameter \\RD_CLK_ENABLE 1'0", parameters):
                for mode in MODES:
                    found.add(f"mutate -mode {mode} -module {module} -cell {cell} -port RD_EN")
    return found


def _choose(possible: list[str], n: int, rng: random.Random) -> list[str]:
    """Draw a cell, then one of its mutants, until there are ``n``."""
    cells: dict[str, list[str]] = {}
    for line in possible:
        cells.setdefault(line.partition(" -port ")[0].partition(" -module ")[2], []).append(line)
    names = sorted(cells)
    chosen = []
    while len(chosen) < n:
        cell = rng.choice(names)
        chosen.append(cells[cell].pop(rng.randrange(len(cells[cell]))))
        if not cells[cell]:
            names.remove(cell)
    return chosen


def run_yosys(folder: Path, *commands: str, timeout: float = TIMEOUT_SECONDS) -> str:
    """Run Yosys in a folder; return what it prints."""
    return find_full_yosys().run(commands, cwd=folder, timeout=timeout)
