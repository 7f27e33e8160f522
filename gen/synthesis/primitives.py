"""What a timing proxy has to know of the primitives of Xilinx families (UG474, UG574, UG579)."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .netlist import Bit, Cell

__all__ = ["DSP_REGISTERS", "Length", "Node", "Role", "describe", "dsp_registers"]

Node = Bit | tuple[str, int]
"""A net, or a place within a cell: its name and a number."""


class Length(NamedTuple):
    """How long a path is: LUTs, carry bits, and DSP slices without a register on the way."""

    luts: int
    carry_bits: int
    dsps: int

    def plus(self, other: "Length") -> "Length":
        """Return the length of two paths, one after the other."""
        return Length(*(a + b for a, b in zip(self, other, strict=True)))

    def covers(self, other: "Length") -> bool:
        """Whether this is at least as long in every respect."""
        return all(a >= b for a, b in zip(self, other, strict=True))


NOTHING, ONE_LUT = Length(0, 0, 0), Length(1, 0, 0)
ONE_CARRY_BIT, ONE_DSP = Length(0, 1, 0), Length(0, 0, 1)


@dataclass
class Role:
    """What a primitive is to the paths through it.

    Members
    -------
    arcs : list
        From where, to where, how long.
    starts, ends : list
        Nets that come from a register in it, and nets that go into one.
    pins : list
        Nets at its inputs, clocks left out.
    """

    arcs: list[tuple[Node, Node, Length]] = field(default_factory=list)
    starts: list[Bit] = field(default_factory=list)
    ends: list[Bit] = field(default_factory=list)
    pins: list[Bit] = field(default_factory=list)

    def connect(self, sources: list[Bit], sinks: list[Bit], length: Length) -> None:
        """Add an arc from each source to each sink."""
        self.arcs += [(source, sink, length) for source in sources for sink in sinks]


def describe(cell: Cell) -> Role:
    """Return the role of a primitive."""
    role = Role()
    inputs = {
        port: bits
        for port, bits in cell.pins.items()
        if port not in cell.outputs and port not in ("C", "G", "WCLK") and "CLK" not in port
    }
    outputs = {port: bits for port, bits in cell.pins.items() if port in cell.outputs}
    role.pins = _flat(inputs)
    if cell.type == "LUT6_2":
        _describe_pair(cell, role)
    elif re.match("LUT|INV", cell.type):
        role.connect(_flat(inputs), _flat(outputs), ONE_LUT)
    elif re.match("MUXF|BUF", cell.type):
        role.connect(_flat(inputs), _flat(outputs), NOTHING)
    elif cell.type.startswith("CARRY"):
        _describe_carry(cell, role)
    elif re.match("SRL|RAM[0-9]+[MX]", cell.type):
        _describe_lut_memory(inputs, outputs, role)
    elif cell.type.startswith("DSP"):
        _describe_dsp(cell, inputs, outputs, role)
    else:  # flip-flops and block memories: a register behind every input, before every output
        role.starts, role.ends = _flat(outputs), _flat(inputs)
    return role


def _flat(ports: dict[str, list[Bit]]) -> list[Bit]:
    return [bit for bits in ports.values() for bit in bits]


def _describe_pair(cell: Cell, role: Role) -> None:
    """Describe a LUT of two outputs, which need not depend on the same inputs."""
    init = cell.parameter("INIT", 0)
    inputs = [bit for index in range(6) for bit in cell.pins[f"I{index}"]]
    lower, upper = init & (1 << 32) - 1, init >> 32
    o6 = (upper, 5) if inputs[5] == "1" else (init, 6)
    for port, (table, n) in {"O5": (lower, 5), "O6": o6}.items():
        used = [inputs[index] for index in range(n) if _depends(table, n, index)]
        role.connect(used, cell.pins.get(port, []), ONE_LUT)


def _depends(table: int, n: int, index: int) -> bool:
    """Whether a truth table of ``n`` inputs changes with one of them."""
    step = 1 << index
    rows = (row for row in range(1 << n) if not row & step)
    return any((table >> row ^ table >> (row + step)) & 1 for row in rows)


def _describe_carry(cell: Cell, role: Role) -> None:
    """Describe a chain: the bit ``n`` of ``O`` needs the carries below it."""
    for port in ("CI", "CYINIT"):
        role.arcs += [(bit, (cell.name, 0), NOTHING) for bit in cell.pins.get(port, [])]
    for port in ("S", "DI"):
        for index, bit in enumerate(cell.pins[port]):
            role.arcs.append((bit, (cell.name, index + 1), ONE_CARRY_BIT))
    for index, (bit, o) in enumerate(zip(cell.pins["S"], cell.pins.get("O", []), strict=False)):
        role.arcs.append((bit, o, ONE_CARRY_BIT))
        role.arcs.append(((cell.name, index), o, ONE_CARRY_BIT))
    for index in range(len(cell.pins["S"])):
        role.arcs.append(((cell.name, index), (cell.name, index + 1), ONE_CARRY_BIT))
    for index, co in enumerate(cell.pins.get("CO", [])):
        role.arcs.append(((cell.name, index + 1), co, NOTHING))


def _describe_lut_memory(
    inputs: dict[str, list[Bit]], outputs: dict[str, list[Bit]], role: Role
) -> None:
    """Describe LUTs that remember: read at once by an address, written at the clock."""
    role.starts, role.ends = _flat(outputs), _flat(inputs)
    for address, bits in inputs.items():
        if re.fullmatch(r"A\d*|ADDR\w?|DPRA\d*", address):
            for port, data in outputs.items():
                if _reads(address, port):
                    role.connect(bits, data, ONE_LUT)


def _reads(address: str, port: str) -> bool:
    """Whether an address port decides what an output shows."""
    if port == "Q31":  # the end of a shift register, whatever the address is
        return False
    if address.startswith("ADDR") and port.startswith("DO"):
        return address[4:] == port[2:]
    return address.startswith("DPRA") == (port == "DPO")


DSP_REGISTERS = ("AREG", "BREG", "CREG", "ADREG", "DREG", "MREG", "PREG")
"""Registers of the data path in a DSP slice."""

# Registers that may stand between an input and P.
_BEHIND = {
    "A": ("AREG", "ADREG", "MREG", "PREG"),
    "ACIN": ("AREG", "ADREG", "MREG", "PREG"),
    "B": ("BREG", "ADREG", "MREG", "PREG"),
    "BCIN": ("BREG", "ADREG", "MREG", "PREG"),
    "C": ("CREG", "PREG"),
    "D": ("DREG", "ADREG", "MREG", "PREG"),
    "PCIN": ("PREG",),
    "CARRYCASCIN": ("PREG",),
    "MULTSIGNIN": ("PREG",),
    "INMODE": ("INMODEREG", "ADREG", "MREG", "PREG"),
    "OPMODE": ("OPMODEREG", "PREG"),
    "ALUMODE": ("ALUMODEREG", "PREG"),
    "CARRYIN": ("CARRYINREG", "PREG"),
    "CARRYINSEL": ("CARRYINSELREG", "PREG"),
}


# Ports whose data a register carries; P is fed by them all.
_IN_FRONT = {
    "AREG": ("A", "ACIN"),
    "BREG": ("B", "BCIN"),
    "CREG": ("C",),
    "DREG": ("D",),
    "ADREG": ("A", "ACIN", "D"),
}


def dsp_registers(cell: Cell) -> tuple[str, bool]:
    """Return the registers that a DSP slice uses, and whether these are all that it needs.

    Where nothing but a constant arrives, a register has nothing to hold, and none is needed.
    """
    depth = {name: cell.parameter(name, 1) for name in DSP_REGISTERS}
    if not _has_preadder(cell):
        del depth["ADREG"], depth["DREG"]
    if cell.parameters.get("USE_MULT", "MULTIPLY").strip() == "NONE":
        del depth["MREG"]
    if not _carries_data(cell, "CREG"):  # the adder makes no use of C
        del depth["CREG"]
    idle = [name for name in depth if name in _IN_FRONT and not _carries_data(cell, name)]
    for name in idle:
        del depth[name]
    texts = [f"{name} {n}" for name, n in depth.items()]
    texts += [f"no {name} as its input is constant" for name in idle]
    return ", ".join(texts), all(depth.values())


def _carries_data(cell: Cell, register: str) -> bool:
    bits = (bit for port in _IN_FRONT[register] for bit in cell.pins.get(port, []))
    return any(not isinstance(bit, str) for bit in bits)


def _has_preadder(cell: Cell) -> bool:
    chosen = (cell.parameters.get(name, "").strip() for name in ("AMULTSEL", "BMULTSEL"))
    return "AD" in chosen or cell.parameters.get("USE_DPORT", "").strip() == "TRUE"


def _describe_dsp(
    cell: Cell, inputs: dict[str, list[Bit]], outputs: dict[str, list[Bit]], role: Role
) -> None:
    def registered(names: tuple[str, ...]) -> bool:
        left_out = () if _has_preadder(cell) else ("ADREG", "DREG")
        return any(cell.parameter(name, 1) for name in names if name not in left_out)

    results = {port: bits for port, bits in outputs.items() if port not in ("ACOUT", "BCOUT")}
    role.starts = _flat(outputs)
    for port, bits in inputs.items():
        if port not in _BEHIND or registered(_BEHIND[port]):
            role.ends += bits
        else:
            role.connect(bits, _flat(results), ONE_DSP)
    for side in "AB":
        if not registered((f"{side}REG",)):
            for source in (side, f"{side}CIN"):
                cascade = zip(inputs.get(source, []), outputs.get(f"{side}COUT", []), strict=False)
                role.arcs += [(bit, to, NOTHING) for bit, to in cascade]
