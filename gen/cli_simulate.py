"""The command ``qkloom simulate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import (
    AsJson,
    ChipName,
    Layer,
    Source,
    print_json,
    print_table,
    read_tensors,
    shown_progress,
    take_part,
)

if TYPE_CHECKING:
    from .simulate import Simulation

__all__ = ["simulate"]


def simulate(
    chip: ChipName,
    source: Source = None,
    layer: Layer = None,
    head: Annotated[
        str | None, typer.Option(metavar="H|all", help="Query head; default 0, or all of --input.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="First tokens; default 4 blocks, or all of --input."),
    ] = None,
    causal: Annotated[bool, typer.Option("--causal", help="Query i sees keys up to i.")] = False,
    q_start: Annotated[int, typer.Option(help="Position of the first query, with --causal.")] = 0,
    query_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Bits that queries are quantized to; fewer are faster with runtime precision.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Selection: which blocks of keys each block of queries attends to, a bool array "
            "(heads, query blocks, KV blocks); .npy, or .npz with one array.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="coverage",
            help="Let the hardware select blocks first, by the chip's rule; implies --causal.",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="cxxrtl, verilator or pysim.")
    ] = "cxxrtl",
    waves: Annotated[Path | None, typer.Option(metavar="FILE.vcd", help="Write waveforms.")] = None,
    verilator: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another Verilator than the package's.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Write q, k, v and the output.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw the chip's cache: occupancy, and lifetimes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run attention on the hardware, and check it.

    Every bit is compared with the exact model, and the result with attention in float64.

    Without --input it takes the extract of a real layer that comes with qkloom (12 heads,
    512 tokens, head_dim 32): head 0 and the first four blocks of tokens, which a tiny chip
    finishes in seconds on every engine.

    Exit code 1 means that hardware and exact model differ.
    """
    from ..tb.files import check_writable
    from ..tb.tensors import InputError, load_array, write_npz
    from .api import load

    files = (("--waves", waves, ".vcd"), ("--save", save, ".npz"), ("--plot", plot, ".svg"))
    for option, file, ending in files:
        if file is not None:
            if file.suffix != ending or not file.parent.is_dir():
                raise InputError(
                    f"{option} must be a {ending} file in a folder that exists, not {file}"
                )
            check_writable(file)
    loaded = load(chip)
    if plot is not None:
        _check_cache(loaded, has_selection=mask is not None or index is not None)
    block_mask = None if mask is None else load_array(mask)
    tensors = read_tensors(source, layer)
    if source is None:
        head, tokens = head or "0", tokens or str(4 * loaded.description.block)
    tensors = take_part(tensors, head, tokens)
    with shown_progress(f"simulating {loaded.name}") as progress:
        result = loaded.simulate(
            *tensors,
            causal=causal,
            query_bits=query_bits,
            q_start=q_start,
            block_mask=block_mask,
            index=index,
            engine=engine,
            waves=waves,
            verilator=verilator,
            progress=progress,
        )
    if save is not None:
        write_npz(save, {**tensors._asdict(), "output": result.output})
    if plot is not None:
        _draw_cache(plot, result)
    if as_json:
        print_json(result.report)
    else:
        _print_report(result)
    raise typer.Exit(0 if result.bit_exact else 1)


def _check_cache(chip: Any, *, has_selection: bool) -> None:
    """Refuse to draw a cache that is not there, or that has nothing to do."""
    from ..tb.errors import InputError

    if not chip.description.cache.is_there:
        raise InputError(
            f"--plot draws a cache, and {chip.name} has none; give its description a table "
            "`[cache]` with `cold_blocks = 64`"
        )
    if not has_selection:
        raise InputError(
            "--plot draws what a selection makes of the cache; add --index coverage or --mask"
        )


def _draw_cache(file: Path, result: "Simulation") -> None:
    from .cache.plot import draw_cache
    from .cache.run import CacheRun
    from .index.svg import write_plot

    assert result.cache is not None
    report = {"origin": result.report["chip"], "cache": result.report["cache"]}
    write_plot(file, draw_cache(CacheRun(report, result.cache)))


def _selection_rows(report: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a selection: who made it, and what it leaves out."""
    rows = {}
    if "index" in report:
        of = report["index"]
        rows = {
            "selection by the hardware": f"{of['query_aware_heads']} heads of "
            f"{report['batch'] * report['heads']} query-aware, bit exact: "
            f"{'yes' if of['bit_exact'] else 'NO'}",
            "its cycles, share of both calls": f"{of['cycles']:,}, {of['share_of_time']:.1%}",
            "its bytes": _counts(of["bytes"]),
        }
    if report["density"] == 1:
        return rows
    return rows | {
        "visible pairs that the selection keeps": f"{report['density']:.1%}",
        "error against float64, dense, max": f"{report['dense_max_abs_error']:.3g}",
        "RMS relative to dense": f"{report['dense_rms_relative_error']:.3g}",
    }


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items())


def _print_report(result: "Simulation") -> None:
    from .cache.report import simulated_rows

    report = result.report
    shape = "batch {batch}, heads {heads}, queries {n_q}, keys {n_kv}, head_dim {head_dim}"
    shape = shape.format_map(report)
    verdict = "yes" if report["bit_exact"] else f"NO: {report['differing_outputs']} outputs differ"
    rows = {
        "attention": shape + (", causal" if report["causal"] else ""),
        "cycles": f"{report['cycles']:,}",
        "mac_utilization": f"{report['mac_utilization']:.1%}",
        "attention_efficiency": f"{report['attention_efficiency']:.1%}",
        "bit exact": verdict,
        "error against float64, max": f"{report['max_abs_error']:.3g}",
        "error against float64, mean": f"{report['mean_abs_error']:.3g}",
        "error against float64, RMS relative": f"{report['rms_relative_error']:.3g}",
        "worst row": f"{report['worst_row_rms_relative_error']:.3g} at {report['worst_row']}",
        "RMS relative with int8 inputs": f"{report['input_rms_relative_error']:.3g}",
        **_selection_rows(report),
        **simulated_rows(report),
        "bytes moved": _counts(report["bytes"]),
        "channels, share of cycles with a beat": ", ".join(
            f"{channel['occupancy']:.1%}" for channel in report["channels"]
        ),
        "cycles that memory let lanes wait": _counts(report["stalls"]),
    }
    heading = f"{report['chip']}: its kernel, registers and AXI4, on {report['engine']}"
    print_table(["", heading], list(map(list, rows.items())))
