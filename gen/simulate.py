"""Attention on a chip: quantize, run the hardware, compare with exact model and float64."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tb.attention import Bools, attention, compare
from ..tb.cache.replay import Replay
from ..tb.cache.report import BlockBytes, describe_replay
from ..tb.deal import Call
from ..tb.engines import ENGINES
from ..tb.errors import CallError
from ..tb.exact import count_macs
from ..tb.files import check_writable
from ..tb.kernel import start_kernel
from ..tb.kernel.cached import block_bytes, count_events, events_by_model, replay_cache
from ..tb.kernel.host import Host
from ..tb.kernel.image import Image
from ..tb.kernel.task import place, planned_bytes
from ..tb.kernel.traffic import Traffic, measure_traffic
from ..tb.quantize import Operands
from ..tb.selection import density
from ..tb.tensors import InputError
from .call import emitted_kernel, memory_model, prepare
from .chip import ChipDescription
from .index.choose import variant_of
from .index.hardware import Selected, Selecting, prepare_index
from .mistakes import suggestion
from .progress import Progress

__all__ = ["Simulation", "simulate"]


@dataclass(frozen=True)
class Simulation:
    """What came of a run.

    Members
    -------
    output : array
        As the queries, in float64 if one of the tensors is, else float32.
    cycles : int
        From the start of the call to its interrupt.
    bit_exact : bool
        Whether every bit is the exact model's.
    report : dict
        Figures of the run: ``chip engine cycles mac_utilization attention_efficiency bit_exact
        max_abs_error mean_abs_error rms_relative_error`` and more. Errors are against float64
        attention on the same quantized inputs, ``input_...`` ones on the tensors as they are given;
        with a selection, on the same blocks. ``dense_...`` ones are against attention without it;
        ``density`` is the share of the visible (query, key) pairs that it keeps. ``index``: of the
        call that made the selection, if the hardware did. ``cache``: of the KV blocks that came
        through the chip's cache, if it has one and there is a selection.
    cache : Replay or None
        What became of each of these KV blocks.
    """

    output: NDArray[Any]
    cycles: int
    bit_exact: bool
    report: Mapping[str, Any]
    cache: Replay | None = None


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
    block_mask: Any = None,
    index: str | None = None,
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
    selecting: Selecting | None = None
    if index is not None:
        _check_index(index, q_start=q_start, block_mask=block_mask)
        causal = True
        description = variant_of(description, {"method": index})

    def choose(call: Call) -> Bools:
        nonlocal selecting
        made, _ = emitted_kernel(description, engine == "verilator")
        selecting = prepare_index(description, made, call, description.coverage_rule)
        return selecting.masks

    tell("exact model", None)
    prepared = prepare(
        description,
        q,
        k,
        v,
        causal=causal,
        q_start=q_start,
        scale=scale,
        query_bits=query_bits,
        block_mask=block_mask,
        choose=None if index is None else choose,
    )
    operands, call = prepared.operands, prepared.call
    tell("emitting", None)
    kernel, design = emitted_kernel(description, engine == "verilator")
    image = Image(kernel.n_channels)
    index_task = None if selecting is None else selecting.place(kernel, image)
    selection = None if index_task is None else index_task.selection
    task = place(kernel, call, image, selection=selection)
    planned = planned_bytes(kernel, call)
    caches = description.cache.is_there and call.block_mask is not None
    replayed = replay_cache(kernel, call) if caches else None
    tell("building the simulator", None)
    with start_kernel(
        design,
        memory_model(description, image),
        engine,
        waves=waves,
        verilator_command=verilator,
    ) as simulation:
        memory = [simulation.memory[channel] for channel in range(kernel.n_channels)]
        image.write(memory)
        host = Host(simulation, kernel.registers)
        selected: Selected | None = None
        if selecting is not None and index_task is not None:
            tell("selecting blocks", None)
            selected = selecting.run(index_task, host, memory)
            simulation.reset()  # counters begin again, and memory stays: what follows is measured
            host = Host(simulation, kernel.registers)
        outcome = host.call(
            task.arguments,
            prepared.cycle_limit,
            progress=lambda cycle: tell(f"{cycle:,} cycles", min(host.written / planned["o"], 1.0)),
        )
        tell(f"{outcome.cycles:,} cycles", 1.0)
        traffic = measure_traffic(kernel, host, simulation)
        events = None if replayed is None else count_events(host)
        if spoiled := image.changed(memory):
            raise CallError(f"The kernel wrote outside its outputs, at {spoiled[0]:#x}")
        stored = task.result(memory)
    tell("comparing with float64", None)
    raw = _unfold(stored, operands)
    bit_exact = bool((raw == prepared.expected).all()) and (selected is None or selected.bit_exact)
    output = operands.dequantize(raw)
    shape, block = operands.shape, description.block
    seen: dict[str, Any] = {"causal": causal, "q_start": q_start}
    mask = call.block_mask
    if mask is not None:
        mask = mask.reshape(shape.batch, shape.heads, *mask.shape[-2:])
    chosen = {**seen, "block_mask": mask}
    error = compare(output, attention(*operands.floats(), **chosen, block=block))
    given = compare(output, attention(*prepared.tensors, **chosen, block=block))
    dense = error if mask is None else compare(output, attention(*operands.floats(), **seen))
    macs = count_macs(shape, description.numerics, block_rows=block, **chosen)
    lane_slots = description.size**2 * description.n_lanes
    slots = lane_slots * outcome.cycles
    report = {
        "chip": description.name,
        "engine": engine,
        "cycles": outcome.cycles,
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
        "density": density(mask, block, shape, **seen),
        "dense_max_abs_error": dense.max_abs,
        "dense_rms_relative_error": dense.rms_relative,
        "differing_outputs": int((raw != prepared.expected).sum()),
        **shape._asdict(),
        **seen,
        "query_bits": call.query_bits,
        "bytes": traffic.n_bytes,
        "planned_bytes": planned,
        "channels": traffic.channels,
        "stalls": traffic.stalls,
        "clock_mhz": description.clock_mhz,
        "seconds_at_clock": outcome.cycles / (description.clock_mhz * 1e6),
    }
    if selecting is not None and selected is not None:
        report["index"] = _index_report(selecting, selected, outcome.cycles)
    if replayed is not None and events is not None:
        report["cache"] = _cache_report(
            replayed, block_bytes(kernel, call), events, traffic, macs.slots / lane_slots
        )
        report["cache"]["pairs_per_window"] = description.pairs_per_window
        bit_exact &= bool(report["cache"]["exact"])
        report["bit_exact"] = bit_exact
    return Simulation(output.astype(prepared.dtype), outcome.cycles, bit_exact, report, replayed)


def _check_index(index: Any, *, q_start: int, block_mask: Any) -> None:
    """Refuse what goes with no selection by the hardware."""
    if index != "coverage":
        raise InputError(
            f"index must be 'coverage', which the kernel selects by, not {index!r}; give the "
            "selection of another method as a block_mask"
        )
    if block_mask is not None:
        raise InputError("block_mask and index must not come together; leave one of them out")
    if q_start:
        raise InputError(
            f"q_start must be 0 with index, not {q_start}: blocks are selected for all tokens"
        )


def _index_report(selecting: Selecting, selected: Selected, cycles: int) -> dict[str, Any]:
    """Return the figures of the call that selected, beside the cycles of attention."""
    return {
        "method": "coverage",
        **vars(selecting.call.rule),
        "cycles": selected.cycles,
        "share_of_time": selected.cycles / (selected.cycles + cycles),
        "bit_exact": selected.bit_exact,
        "bytes": selected.n_bytes,
        "planned_bytes": selecting.planned,
        "query_aware_heads": sum(head.is_aware for head in selected.heads),
    }


def _cache_report(
    made: Replay,
    sizes: BlockBytes,
    events: Mapping[str, int],
    traffic: Traffic,
    least_cycles: float,
) -> dict[str, Any]:
    """Return what the hardware counted of its cache, beside its exact model and other caches.

    ``exact``: each count, and each byte, is the model's. ``demand``: bytes a cycle of keys and
    values that memory has to deliver so that lanes, always busy, never wait.
    """
    of = describe_replay(made, sizes)
    total = {
        name: sum(n for event, n in events.items() if event.startswith(name))
        for name in ("hits", "fills", "evictions", "bypasses")
    }
    moved = traffic.n_bytes["k"] + traffic.n_bytes["v"]
    names = ("bytes", "bytes_no_cache", "bytes_lru", "bytes_belady")
    tiers = {
        tier: of["tiers"][tier]
        | {name: events[f"{name}_{tier}"] for name in ("hits", "fills", "evictions")}
        for tier in ("hot", "cold")
    }
    counted = {
        "hits": total["hits"],
        "misses": total["fills"] + total["bypasses"],
        "bypasses": total["bypasses"],
        "evictions": total["evictions"],
        "bytes": moved,
    }
    return {
        **of,
        **counted,
        "tiers": tiers,
        "exact": dict(events) == events_by_model(made) and moved == of["bytes"],
        "demand": {name: of[name] / least_cycles for name in names},
    }


def _unfold(raw: NDArray[np.int64], operands: Operands) -> NDArray[np.int64]:
    return raw[..., : operands.q.shape[-1]].reshape(operands.q.shape)
