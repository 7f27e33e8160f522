"""A self-checking testbench at the pins of a kernel, for its source and its netlist."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...rtl.control.kernel_map import VERSION
from ...rtl.control.register import Register
from ...rtl.kernel.kernel import CONTROL_PINS, Kernel, channel_pins
from ...tb.design import Design
from ...tb.kernel.image import CHANNEL_BYTES
from .bench import bit_range, instance
from .chip import ChipVectors

__all__ = ["BENCH_FILES", "kernel_bench_files"]

AXI = Path(__file__).parents[1] / "sv" / "axi.sv"

BENCH_FILES = ("axi.sv", "testbench.sv")
"""What the testbench of a kernel is made of, in ``sim``."""


def kernel_bench_files(
    design: Design, kernel: Kernel, sources: list[str], vectors: ChipVectors
) -> dict[str, str]:
    """Return a testbench by path: SystemVerilog, registers of the calls, contents of memories.

    Parameters
    ----------
    design : Design
        The kernel, emitted.
    kernel : Kernel
        Its hardware.
    sources : list of str
        Paths of its Verilog, from the folder of the testbench.
    vectors : ChipVectors
        What is called, and what must be in memory after that.
    """
    widths = {port.name: port.width for port in design.ports}
    files: dict[str, str] = {}
    parts = [_host(kernel, widths, vectors, files)]
    beat = kernel.parameters["data_width"] // 8
    for number in range(kernel.n_channels):
        parts.append(_memory(number, beat, widths, vectors, files))
    testbench = _TESTBENCH.format(
        top=design.name,
        wires="\n".join(
            f"  wire {bit_range(w)}{n};" for n, w in widths.items() if n not in _DRIVEN
        ),
        ports=",\n      ".join(f".{name}({name})" for name in widths),
        parts="\n".join(parts),
        checks="\n".join(
            f"      {channel_pins(number)}.check;" for number in range(kernel.n_channels)
        ),
        n_calls=len(vectors.calls),
        n_words=vectors.n_words,
        max_cycles=vectors.max_cycles,
    )
    return files | {
        "sim/axi.sv": AXI.read_text(encoding="utf-8"),
        "sim/filelist.f": "\n".join([*sources, *BENCH_FILES, ""]),
        "sim/testbench.sv": testbench,
    }


_DRIVEN = ("ap_clk", "ap_rst_n")
# Outputs of a manager that say nothing to a memory.
_UNUSED = ("lock", "cache", "prot", "qos", "region")


def _host(
    kernel: Kernel, widths: Mapping[str, int], vectors: ChipVectors, files: dict[str, str]
) -> str:
    registers = {register.name: register for register in kernel.registers}
    address_width = widths[f"{CONTROL_PINS}_awaddr"]
    writes = [
        word
        for call in vectors.calls
        for name in (register.name for register in kernel.arguments)
        for word in _words(registers[name], call.get(name, 0))
    ]
    digits = -(-(address_width + 32) // 4)
    files["sim/vectors/calls.hex"] = "".join(
        f"{address << 32 | value:0{digits}x}\n" for address, value in writes
    )
    parameters: dict[str, object] = {
        "ADDRESS": address_width,
        "CALLS": len(vectors.calls),
        "WRITES": len(writes) // len(vectors.calls),
        "FILE": '"calls.hex"',
    }
    for name in (
        *("control", "global_interrupt_enable", "interrupt_enable", "interrupt_status"),
        *("version", "error", "calls_done"),
    ):
        parameters[name.upper()] = f"{address_width}'h{registers[name].offset:x}"
    parameters["VERSION_IS"] = f"32'h{VERSION:08x}"
    links = {"tick": "tick", "rst_n": "ap_rst_n", "interrupt": "interrupt", "done": "done"}
    return instance("qkloom_axi_host", "host", parameters, links | _pins(CONTROL_PINS, widths))


def _memory(
    number: int,
    beat: int,
    widths: Mapping[str, int],
    vectors: ChipVectors,
    files: dict[str, str],
) -> str:
    name = channel_pins(number)
    before, after = (part[number].reshape(-1, beat) for part in (vectors.before, vectors.after))
    parameters: dict[str, object] = {
        "DATA": 8 * beat,
        "ADDRESS": widths[f"{name}_araddr"],
        "ID": widths[f"{name}_arid"],
        "DEPTH": len(before),
        "BASE": f"{widths[f'{name}_araddr']}'h{number * CHANNEL_BYTES:x}",
        "GUARD": f"8'h{vectors.guard:02x}",
        "SEED": f"16'h{0x9E37 * (number + 1) & 0xFFFF:04x}",
    }
    for key, beats, differs in (
        ("before", before, (before != vectors.guard).any(1)),
        ("after", after, (after != before).any(1)),
    ):
        if differs.any():
            files[f"sim/vectors/{name}.{key}.hex"] = _sparse(beats, differs)
            parameters[key.upper()] = f'"{name}.{key}.hex"'
    links = {"tick": "tick", "rst_n": "ap_rst_n"}
    pins = {p: n for p, n in _pins(name, widths).items() if p[2:] not in _UNUSED}
    return instance("qkloom_axi_memory", name, parameters, links | pins)


def _words(register: Register, value: int) -> list[tuple[int, int]]:
    """Return address and value of each word of a register."""
    return [
        (register.offset + 4 * word, value >> 32 * word & 0xFFFFFFFF)
        for word in range(register.n_words)
    ]


def _pins(prefix: str, widths: Mapping[str, int]) -> dict[str, str]:
    """Return ports of what is connected to a bus, and the names of its wires."""
    return {
        name.removeprefix(f"{prefix}_"): name for name in widths if name.startswith(f"{prefix}_")
    }


def _sparse(beats: NDArray[np.uint8], shown: NDArray[np.bool_]) -> str:
    """Return what ``$readmemh`` takes: the beats that are shown, with the number of some."""
    lines = []
    last = -2
    for number in np.flatnonzero(shown).tolist():
        if number != last + 1:
            lines.append(f"@{number:x}")
        lines.append(beats[number, ::-1].tobytes().hex())
        last = number
    return "\n".join([*lines, ""])


_TESTBENCH = """\
// Self-checking testbench of {top}: a host calls it through its registers, and all of its memory is
// compared after that: outputs, and what must not have changed.
// It reads its files from "vectors" beside it, or from +vectors=DIR at run time.

module testbench;
  reg ap_clk = 0;
  reg ap_rst_n = 0;
  reg tick = 0;
  integer cycle = 0;
  integer quiet = 0;
  wire done;
{wires}

  {top} dut (
      {ports}
  );

{parts}
  // Pins are looked at before the clock's rising edge, and change at its falling edge.
  always begin
    #4 tick = 1;
    #1 ap_clk = 1;
    #5 ap_clk = 0;
    tick = 0;
  end

  // Longer than the reset of a netlist's registers (glbl, 100 ns) and of its memories.
  always @(negedge tick) if (cycle == 40) ap_rst_n <= 1;

  always @(posedge tick) begin
    cycle <= cycle + 1;
    // A while longer than the last call takes, so that a write too many is seen.
    if (done === 1) quiet <= quiet + 1;
    else if (cycle == {max_cycles}) $fatal(1, "FAIL: not done after %0d cycles", cycle);
    if (quiet == 200) begin
{checks}
      $display("PASS: {top}: {n_calls} calls, {n_words} words are right");
      $finish;
    end
  end
endmodule
"""
