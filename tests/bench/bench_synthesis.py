"""What the arrays take of an FPGA, counted by one Yosys, beside `*` and FAST-Prefill's figures.

Every count is made in this run, in an empty cache.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qkloom.gen.emit import emit
from qkloom.gen.synthesis import Synthesis, synthesize
from qkloom.gen.synthesis.run import run_synthesis
from qkloom.gen.synthesis.target import TARGETS
from qkloom.gen.synthesis.timing import MAX_CARRY_BITS, MAX_FAN_OUT, MAX_LUTS
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8
from qkloom.rtl.matrix.booth import BoothProduct
from qkloom.rtl.matrix.dsp import DspMatrixUnit
from qkloom.rtl.matrix.element import StationaryElement
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.engines import Cache
from qkloom.tb.yosys import find_full_yosys

SIZE = 32


@dataclass(frozen=True)
class Published:
    """FAST-Prefill's matrix unit on the Alveo U280, by its paper (arXiv 2602.20515, FCCM 2026).

    Its tables: 6,459 DSPs and 838 K LUTs in use, at 175 MHz. From six DSP arrays of 32x32 follows
    one int8 MAC per DSP48E2; LUTs of its LUT arrays are ours to divide, from a draft's 525 K LUTs
    of the whole matrix unit. Peak: 12 arrays x 1,024 MACs x 2 operations x 175 MHz.
    """

    dsp_per_mac: float = 1.0
    lut_per_mac: float = 85.0
    tops: float = 4.3
    mhz: float = 175.0

    @property
    def what(self) -> str:
        """The whole unit, in words."""
        return f"six 32x32 arrays of each kind: {self.tops:g} TOPS at {self.mhz:g} MHz"


FAST_PREFILL = Published()


def row(name: str, value: float, how: str, *, asked: float | None = None, **more: Any) -> Any:
    """Return a figure; less is better unless ``more`` says otherwise."""
    return {
        "name": name,
        "value": value,
        "unit": "",
        "asked": asked,
        "better": "less",
        "how": how,
        **more,
    }


def spell(synthesis: Synthesis) -> str:
    """Return all counts in words."""
    counts = ", ".join(f"{n:,} {name}" for name, n in synthesis.total.items() if n)
    return f"{counts}; {synthesis.seconds:.0f} s"


def without_dsps(component: Component, cache: Cache) -> dict[str, float]:
    """Return the counts of a component whose `*` may only become LUTs."""
    target = TARGETS["xcup"]
    target = replace(target, commands=tuple(f"{command} -nodsp" for command in target.commands))
    design = emit(component, target=target.platform)
    netlist = run_synthesis(design, target, find_full_yosys(), cache, lambda step, share: None)
    return target.count(netlist.cells[netlist.top])


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _rows(Cache(Path(folder)))


def _rows(cache: Cache) -> Iterator[dict[str, Any]]:
    size = {"rows": SIZE, "cols": SIZE}
    macs = SIZE * SIZE
    lut = synthesize(LutMatrixUnit(**size), cache=cache)
    title = f"LUT array {SIZE}x{SIZE}"
    how = "tables, shadow, generators, adders, skew, control: " + spell(lut)
    theirs = f"aim 29; FAST-Prefill about {FAST_PREFILL.lut_per_mac:g}"
    yield row(f"{title}, int8, LUTs per MAC", lut.per_mac["lut"], f"{theirs}; {how}", asked=34)
    yield row(f"{title}, int8, LUTRAM per MAC", lut.per_mac["lutram"], "of these", asked=14)
    narrow = synthesize(LutMatrixUnit(**size, stream=I4, stationary=I8), cache=cache)
    name = f"{title}, 4-bit streaming x 8-bit stationary, LUTs per MAC"
    yield row(name, narrow.per_mac["lut"], spell(narrow), asked=20)
    serial = synthesize(LutMatrixUnit(**size, planes="serial"), cache=cache)
    name = f"{title}, int8, a plane a cycle, LUTs per MAC"
    yield row(name, serial.per_mac["lut"], f"1 to 8 cycles a row; {spell(serial)}")

    dsp = synthesize(DspMatrixUnit(**size), cache=cache)
    title = f"DSP array {SIZE}x{SIZE}"
    how = f"FAST-Prefill {FAST_PREFILL.dsp_per_mac:g}; it has {FAST_PREFILL.what}"
    yield row(f"{title}, int8, DSPs per MAC", dsp.per_mac["dsp"], how, asked=0.5)
    how = "aim 6; field splits and skew included: " + spell(dsp)
    yield row(f"{title}, int8, LUTs per MAC", dsp.per_mac["lut"], how, asked=10)

    plain = synthesize(MatrixUnit(**size), cache=cache)
    name = f"`*` array {SIZE}x{SIZE}, int8"
    yield row(f"{name}, DSPs per MAC", plain.per_mac["dsp"], "Yosys' own choice")
    yield row(f"{name}, LUTs per MAC", plain.per_mac["lut"], spell(plain))
    counts = without_dsps(MatrixUnit(**size), cache)
    name += ", without DSPs, LUTs per MAC"
    yield row(name, counts["lut"] / macs, "synth_xilinx -nodsp, adders and shadow included")

    # Operands that both change.
    booth = synthesize(BoothProduct(), cache=cache)
    yield row("Booth product 8x8, LUTs", booth.total["lut"], spell(booth))
    element = StationaryElement(operand_width=8, weight_width=8, sum_width=16)
    counts = without_dsps(element, cache)
    how = "with its adder and the shadow, as Yosys maps `*` without DSPs"
    yield row("element of a `*` array 8x8, LUTs", counts["lut"], how)
    folding = synthesize(OutputStationary(rows=16, cols=16, multiplier="lut"), cache=cache)
    name = "output-stationary array 16x16 of Booth products, LUTs per MAC"
    yield row(name, folding.per_mac["lut"], "32-bit sums, queues included: " + spell(folding))

    slowest = max((lut, dsp, plain), key=lambda synthesis: synthesis.seconds)
    how = "hierarchical, emission included, empty cache: " + "; ".join(
        f"{name} {synthesis.seconds:.0f} s"
        for name, synthesis in [("LUT", lut), ("DSP", dsp), ("`*`", plain)]
    )
    name = f"synthesis of a {SIZE}x{SIZE} array, the slowest"
    yield row(name, slowest.seconds, how, asked=120, unit="s")

    for name, synthesis in [
        (f"LUT array {SIZE}x{SIZE}", lut),
        (f"DSP array {SIZE}x{SIZE}", dsp),
        ("output-stationary array 16x16", folding),
    ]:
        yield from timing_rows(f"timing proxy, {name}", synthesis)


def timing_rows(name: str, synthesis: Synthesis) -> Iterator[dict[str, Any]]:
    """Yield the proxy's figures; no clock frequency follows from them."""
    timing = synthesis.timing
    path = timing.paths["registers"]
    how = "between registers: " + " to ".join([*path.names[:1], *path.names[-1:]])
    yield row(f"{name}, LUTs", path.luts, how, asked=MAX_LUTS)
    yield row(f"{name}, carry bits", path.carry_bits, "of that path", asked=MAX_CARRY_BITS)
    yield row(
        f"{name}, fan-out behind logic", timing.fan_out, timing.fan_out_net, asked=MAX_FAN_OUT
    )
    net = timing.register_fan_out_net
    yield row(f"{name}, fan-out of a register", timing.register_fan_out, net)
    yield row(f"{name}, fan-out of an input", timing.input_fan_out, timing.input_fan_out_net)
    if timing.dsp_registers:
        how = "; ".join(f"{n:,} DSPs: {kind}" for kind, n in timing.dsp_registers.items())
        yield row(f"{name}, DSPs without a register", timing.unregistered_dsps, how, asked=0)
