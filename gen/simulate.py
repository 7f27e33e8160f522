"""Attention on a chip: quantize, run the hardware, compare with exact model and float64."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..platforms.targets import TARGETS
from ..rtl.core import Core
from ..tb.attention import attention, compare
from ..tb.core import program, read_back
from ..tb.design import Design
from ..tb.engines import ENGINES, run
from ..tb.exact import count_macs
from ..tb.files import check_writable
from ..tb.quantize import Operands
from ..tb.tensors import InputError
from .call import build_core, prepare
from .chip import ChipDescription
from .emit import emit
from .mistakes import suggestion

__all__ = ["Progress", "Simulation", "simulate"]

Progress = Callable[[str, float | None], None]
"""Is told each step as it begins, and while the hardware runs the share of its answers."""


@dataclass(frozen=True)
class Simulation:
    """What came of a run.

    Members
    -------
    output : array
        As the queries, in float64 if one of the tensors is, else float32.
    cycles : int
        From the first request to the last output.
    bit_exact : bool
        Whether every bit is the exact model's.
    report : dict
        Figures of the run: ``chip engine cycles mac_utilization attention_efficiency bit_exact
        max_abs_error mean_abs_error rms_relative_error`` and more. Errors are against float64
        attention on the same quantized inputs, ``input_...`` ones on the tensors as they are given.
    """

    output: NDArray[Any]
    cycles: int
    bit_exact: bool
    report: Mapping[str, Any]


def simulate(
    description: ChipDescription,
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    q_start: int = 0,
    scale: float | None = None,
    query_bits: int | None = None,
    engine: str = "cxxrtl",
    waves: str | Path | None = None,
    verilator: str | Path | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Run attention on the hardware; parameters as of :meth:`qkloom.Chip.simulate`."""
    if engine not in ENGINES:
        raise InputError(
            f"Engine must be one of {', '.join(ENGINES)}, not {engine!r}"
            f"{suggestion(str(engine), ENGINES)}"
        )
    if verilator is not None and engine != "verilator":
        raise InputError(
            f"verilator may be given only with engine 'verilator', not {engine!r}; leave it out"
        )
    if waves is not None:
        check_writable(waves)
    tell = progress or (lambda step, share: None)
    tell("exact model", None)
    prepared = prepare(
        description, q, k, v, causal=causal, q_start=q_start, scale=scale, query_bits=query_bits
    )
    operands, call = prepared.operands, prepared.call
    tell("emitting", None)
    core, design = _emitted(description, engine == "verilator")
    bench = program(core, call, max_cycles=prepared.cycle_limit)
    tell("building the simulator", None)
    result = run(
        design,
        bench,
        engine,
        waves=waves,
        progress=lambda cycle, share: tell(f"{cycle:,} cycles", share),
        verilator_command=verilator,
    )
    tell("comparing with float64", None)
    raw = _unfold(read_back(core, call, result.outputs["o"]), operands)
    bit_exact = bool((raw == prepared.expected).all())
    output = operands.dequantize(raw)
    error = compare(output, attention(*operands.floats(), causal=causal, q_start=q_start))
    given = compare(output, attention(*prepared.tensors, causal=causal, q_start=q_start))
    shape = operands.shape
    macs = count_macs(
        shape, description.numerics, block_rows=description.block, causal=causal, q_start=q_start
    )
    slots = description.size**2 * description.n_lanes * result.cycles
    report = {
        "chip": description.name,
        "engine": engine,
        "cycles": result.cycles,
        "mac_utilization": macs.slots / slots,
        "attention_efficiency": macs.useful / slots,
        "bit_exact": bit_exact,
        "max_abs_error": error.max_abs,
        "mean_abs_error": error.mean_abs,
        "rms_relative_error": error.rms_relative,
        "worst_row": list(error.worst_row),
        "worst_row_rms_relative_error": error.worst_row_rms_relative,
        "input_max_abs_error": given.max_abs,
        "input_rms_relative_error": given.rms_relative,
        "differing_outputs": int((raw != prepared.expected).sum()),
        **shape._asdict(),
        "causal": causal,
        "q_start": q_start,
        "query_bits": call.query_bits,
        "seconds_at_clock": result.cycles / (description.clock_mhz * 1e6),
    }
    return Simulation(output.astype(prepared.dtype), result.cycles, bit_exact, report)


@functools.lru_cache(maxsize=4)
def _emitted(description: ChipDescription, verilog: bool) -> tuple[Core, Design]:
    """Emit a chip once for any number of runs: as its target builds it, if it is Verilog."""
    core = build_core(description)
    target = TARGETS[description.target] if verilog else None
    return core, emit(core, name=description.identifier, verilog=verilog, target=target)


def _unfold(raw: NDArray[np.int64], operands: Operands) -> NDArray[np.int64]:
    return raw[..., : operands.q.shape[-1]].reshape(operands.q.shape)
