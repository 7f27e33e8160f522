"""What a design can be synthesized for: the commands, and what each cell of the result costs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...platforms.targets import OTHER_NAMES
from ...platforms.ultrascale import UltraScale
from ...tb.errors import InputError
from ..mistakes import suggestion
from .liberty import read_areas

__all__ = ["CARD", "COLUMNS", "TARGETS", "USER", "Target", "find_target"]

COLUMNS = ("lut", "lutram", "ff", "carry8", "dsp", "bram36", "uram")
"""What is counted on an FPGA.

``lut`` are all LUTs, including the ``lutram`` that serve as memories and shift registers, as AMD's
"CLB LUTs" do. ``carry8`` is carry bits / 8, ``bram36`` block memory in units of 36 Kbit.
"""

CARD: Mapping[str, int] = {
    "lut": 1_303_680,
    "lutram": 600_960,
    "ff": 2_607_360,
    "carry8": 162_960,
    "dsp": 9_024,
    "bram36": 2_016,
    "uram": 960,
}
"""What the Alveo U280 has."""

USER: Mapping[str, int] = {"lut": 1_163_520, "dsp": 8_490}
"""What its shell leaves to the user, as far as AMD says."""

_Cost = Mapping[str, float]

# Cells that take nothing that is counted: multiplexers between LUTs, and buffers.
_FREE = ("MUXF5", "MUXF6", "MUXF7", "MUXF8", "MUXF9", "VCC", "GND", "BUFG", "BUFGCTRL")
# LUTs of each memory: UG574, table "distributed RAM configurations"; those of UG474 are the same.
_LUTRAM = {
    "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8,
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8,
    "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8,
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
}  # fmt: skip
_XILINX: dict[str, _Cost] = {
    **{f"LUT{n}": {"lut": 1} for n in range(1, 7)},
    "LUT6_2": {"lut": 1},
    "INV": {"lut": 1},  # a vendor's tool may find room for it in a neighbour
    **{cell: {"lut": n, "lutram": n} for cell, n in _LUTRAM.items()},
    **{f"FD{kind}E{edge}": {"ff": 1} for kind in "RSCP" for edge in ("", "_1")},
    **{f"LD{kind}E": {"ff": 1} for kind in "CP"},
    "CARRY4": {"carry8": 0.5},
    "CARRY8": {"carry8": 1},
    **{f"DSP48E{n}": {"dsp": 1} for n in (1, 2)},
    **{f"RAMB{size}E{n}": {"bram36": size / 36} for size in (18, 36) for n in (1, 2)},
    **{cell: {"uram": 1} for cell in ("URAM288", "URAM288_BASE")},
    **{cell: {} for cell in _FREE},
}
_ECP5: dict[str, _Cost] = {
    "LUT4": {"lut": 1},
    "INV": {"lut": 1},
    "CCU2C": {"lut": 2, "carry8": 2 / 8},
    "TRELLIS_DPR16X4": {"lut": 6, "lutram": 6},  # four hold bits, two write them
    "TRELLIS_FF": {"ff": 1},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"bram36": 18 / 36},
    "PDPW16KD": {"bram36": 18 / 36},
    **{cell: {} for cell in ("PFUMX", "L6MUX21", "VHI", "VLO")},
}
_ICE40: dict[str, _Cost] = {
    "SB_LUT4": {"lut": 1},
    "SB_CARRY": {"carry8": 1 / 8},
    **{
        f"SB_DFF{edge}{enable}{reset}": {"ff": 1}
        for edge in ("", "N")
        for enable in ("", "E")
        for reset in ("", "R", "S", "SR", "SS")
    },
    **{f"SB_RAM40_4K{edges}": {"bram36": 4 / 36} for edges in ("", "NR", "NW", "NRNW")},
    "SB_MAC16": {"dsp": 1},
}


@dataclass(frozen=True)
class Target:
    """What a design is synthesized for.

    Members
    -------
    name : str
        As the user writes it.
    commands : tuple of str
        Yosys commands between reading and writing; ``{top}`` stands for the top module.
    costs : mapping
        Columns of each cell that may be in the result, by its type.
    columns : tuple of str
        What is counted.
    platform : object or None
        Builds blocks from the target's primitives during emission.
    files : mapping
        Contents of files that the commands read, by name.
    needs : str
        What these have to contain.
    """

    name: str
    commands: tuple[str, ...]
    costs: Mapping[str, _Cost]
    columns: tuple[str, ...] = COLUMNS
    platform: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    needs: str = ""

    @property
    def has_timing(self) -> bool:
        """Whether the timing proxy knows its cells."""
        return self.costs is _XILINX

    @property
    def digest(self) -> str:
        """Hash of everything that a netlist depends on besides the design and the tool."""
        parts = [*self.commands, *map(str, sorted(self.costs)), *map(repr, self.files.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def count(self, cells: Mapping[str, int]) -> dict[str, float]:
        """Return what cells cost: their numbers by type become columns."""
        counts = dict.fromkeys(self.columns, 0.0)
        for cell, n in cells.items():
            for column, cost in self.costs[cell].items():
                counts[column] += n * cost
        return {name: int(n) if n == int(n) else round(n, 3) for name, n in counts.items()}


# Without -flatten, so that a module that is used a thousand times is synthesized once.
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "xcup",
            ("synth_xilinx -family xcup -noiopad -noclkbuf -top {top}",),
            _XILINX,
            platform=UltraScale(),
        ),
        Target("xc7", ("synth_xilinx -family xc7 -noiopad -noclkbuf -top {top}",), _XILINX),
        Target("ecp5", ("synth_ecp5 -noflatten -top {top}",), _ECP5),
        Target("ice40", ("synth_ice40 -noflatten -dsp -top {top}",), _ICE40),
    )
}
"""The families of FPGAs."""


def find_target(name: str) -> Target:
    """Return a target by what the user writes.

    Raises
    ------
    InputError
        When there is none, or its Liberty file cannot be used.
    """
    name = OTHER_NAMES.get(name, name)
    kind, colon, file = name.partition(":")
    if kind == "liberty" and colon:
        path = Path(file)
        areas = read_areas(path)
        return Target(
            name,
            (
                "synth -noabc -top {top}",
                "dfflibmap -liberty cells.lib",
                "opt",
                "abc -liberty cells.lib",
                "opt_clean",
            ),
            {cell: {"cells": 1, "area": area} for cell, area in areas.items()},
            columns=("cells", "area"),
            files={"cells.lib": path.read_bytes()},
            needs="a Liberty file needs an inverter, a buffer, NAND or NOR, and a flip-flop",
        )
    if name not in TARGETS:
        known = [*TARGETS, "liberty:FILE"]
        raise InputError(
            f"--target must be one of {', '.join(known)}, not {name!r}{suggestion(name, known)}"
        )
    return TARGETS[name]
