"""The command ``qkloom``: the Python interface, from a terminal.

Every command imports what it needs when it runs, so that help and mistakes answer at once.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from .cli_cache import cache
from .cli_index import index
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

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """Commands that end quietly when nobody reads on, as in `qkloom schema | head -1`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError as error:
            # Python flushes once more at its end: into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            verdict = error.__context__
            raise verdict if isinstance(verdict, typer.Exit) else typer.Exit(0) from None


app = typer.Typer(
    name="qkloom",
    cls=_Commands,
    help="A chip description in, verified Verilog out.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; whatever a user can get wrong ends in one message and exit code 2.

    Hardware that does not do what it must is exit code 1.
    """
    try:
        app(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from ..tb.errors import AccessError, CallError, InputError, RunError, ToolError

        if isinstance(error, OSError):
            place = error.filename or "The output"
            error = InputError(f"{place} cannot be used: {error.strerror or error}")
        astray = RunError | CallError | AccessError
        if not isinstance(error, InputError | ToolError | astray):
            raise
        print(f"qkloom: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, astray) else 2)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"qkloom {version('qkloom')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options of all commands."""


@app.command()
def chips(as_json: AsJson = False) -> None:
    """List the presets with their key figures."""
    from .chip import preset_names, read_chip

    presets = [read_chip(name) for name in preset_names()]
    if as_json:
        print_json({chip.name: {**chip.figures, **chip.resolved()} for chip in presets})
        return
    figures = [
        [
            chip.name,
            str(chip.n_lanes),
            f"{chip.size} x {chip.size}",
            f"{chip.peak_tops:.3g}",
            str(chip.block),
            str(chip.head_dim),
            str(chip.tokens),
        ]
        for chip in presets
    ]
    headers = ["chip", "lanes", "array", "peak int8 TOPS", "block", "head_dim", "tokens"]
    print_table(headers, figures)
    for chip in presets:
        print(f"{chip.name}: {chip.description}")


@app.command()
def units(as_json: AsJson = False) -> None:
    """List the single components, and their parameters."""
    from .units import find_units

    found = find_units().values()
    if as_json:
        print_json({unit.name: {"summary": unit.summary, "usage": unit.usage()} for unit in found})
        return
    for unit in found:
        print(f"{unit.name}\n    {unit.summary}\n    {unit.usage()}")


@app.command()
def show(chip: ChipName) -> None:
    """Print a description, with what follows from it."""
    from .chip import read_chip

    print(read_chip(chip).to_toml(), end="")


@app.command()
def schema() -> None:
    """Print the JSON schema of descriptions."""
    from .chip import ChipDescription

    print_json(ChipDescription.model_json_schema())


@app.command()
def doctor(
    as_json: AsJson = False,
    prune: Annotated[
        bool, typer.Option(help="Empty the cache of built simulators and netlists.")
    ] = False,
) -> None:
    """Say which tools were found, and how to get others."""
    from . import doctor as examination

    findings = examination.examine(prune=prune)
    if as_json:
        print_json(findings.as_dict())
        return
    print_table(
        ["", "found", "used for", "where, or how to get it"],
        [[t.name, t.version or "no", t.purpose, t.place or t.remedy] for t in findings.tools],
    )
    print(findings.summary())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def generate(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A preset, a .toml file, or a unit's name.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    vectors: Annotated[
        int, typer.Option(min=0, help="Test cases of a self-checking testbench in sim/.")
    ] = 0,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose primitives: generic or ultrascale (xcup); a chip's own by default.",
        ),
    ] = None,
) -> None:
    """Write Verilog, simulation files and a manifest.

    A unit takes its parameters as options (`generate matrix --rows 128 --cols 128 -o DIR`), and
    `qkloom units` lists them. An existing folder is replaced only if qkloom generated all
    that is in it.
    """
    from .chip import preset_names
    from .generate import generate_chip, generate_unit, platform_name
    from .units import parse_options

    options = parse_options(context.args)
    with shown_progress(f"generating {what}"):
        if what in preset_names() or what.endswith(".toml"):
            chip = _read_chip(what, options, takes="-o, --vectors and --target")
            if target is not None:
                chip = chip.replace(target=platform_name(target))
            folder = generate_chip(chip, output, vectors=vectors)
        else:
            folder = generate_unit(
                _find_unit(what), options, output, vectors=vectors, target=target or "generic"
            )
    size = next(folder.glob("*.v")).stat().st_size
    print(f"{folder}: {size / 1000:.0f} kB of Verilog")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def synth(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A preset, a .toml file, or a unit's name.")
    ],
    target: Annotated[
        str,
        typer.Option(metavar="NAME", help="xcup (ultrascale), xc7, ecp5, ice40 or liberty:FILE."),
    ] = "xcup",
    yosys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another Yosys than the package's.")
    ] = None,
    vivado: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What report_utilization wrote, to be put beside."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Synthesize by Yosys, and print what each block takes; of a chip, its whole kernel.

    A unit takes its parameters as options (`synth matrix --kind lut --rows 32 --cols 32`). Modules
    that were synthesized before are taken from the cache.

    LUT counts all LUTs, those used as memory and shift registers (LUTRAM) included, as AMD's "CLB
    LUTs" does. BRAM is in units of 36 Kbit, CARRY8 in units of 8 carry bits.
    """
    from ..rtl.kernel.kernel import Kernel
    from .chip import preset_names
    from .synthesis import synthesize
    from .synthesis.report import describe, tabulate
    from .units import parse_options

    options = parse_options(context.args)
    with shown_progress(f"synthesizing {what}") as progress:
        name = None
        if what in preset_names() or what.endswith(".toml"):
            chip = _read_chip(what, options, takes="--target, --yosys, --vivado and --json")
            name, component = chip.identifier, Kernel(**chip.kernel_parameters)
        else:
            component = _find_unit(what).build(options)
        synthesis = synthesize(
            component, target=target, name=name, yosys=yosys, vivado=vivado, progress=progress
        )
    if as_json:
        print_json(synthesis.as_dict())
        return
    print_table(*tabulate(synthesis))
    for line in describe(synthesis):
        print(line)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def estimate(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A preset, a .toml file, or a unit's name.")
    ],
    as_json: AsJson = False,
) -> None:
    """Estimate what each block takes, in seconds, and how far off that may be.

    The table is that of `synth` for UltraScale+, from a model that is fitted to synthesized
    components. Of a chip it has the whole kernel: registers, sequencer and movers around the core.
    Units take their parameters as options.
    """
    from ..rtl.kernel.kernel import Kernel
    from .chip import preset_names
    from .estimate import estimate as estimate_component
    from .synthesis.report import tabulate
    from .units import parse_options

    options = parse_options(context.args)
    name = None
    if what in preset_names() or what.endswith(".toml"):
        chip = _read_chip(what, options, takes="--json")
        name, component = chip.identifier, Kernel(**chip.kernel_parameters)
    else:
        component = _find_unit(what).build(options)
    figures = estimate_component(component, name=name)
    if as_json:
        print_json(figures.as_dict())
        return
    print_table(*tabulate(figures))
    print(f"{figures.name} for {figures.target}, estimated in {figures.seconds:.2f} s")
    for line in figures.notes:
        print(line)


@app.command()
def crossover(
    clock: Annotated[float, typer.Option(metavar="MHZ", help="Clock of the chip.")] = 300.0,
    luts: Annotated[
        int | None,
        typer.Option(metavar="N", help="LUTs to fill; 80 % of the user's part of a U280."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the peak by DSP slices, by LUTs and by both, for each precision, and the best split.

    Counted by the model of `estimate`, for lanes of the preset u280 with all that is in them and
    the kernel around them, and for their arrays alone. Everything but the LUTs may take 80 % of the
    card.
    """
    from .estimate.crossover import SHARE, budget_of, find_splits, tabulate_splits

    budget = budget_of(luts)
    splits = find_splits(clock_mhz=clock, budget=budget)
    if as_json:
        facts = {"clock_mhz": clock, "budget": budget, "splits": [s.as_dict() for s in splits]}
        print_json(facts)
        return
    print_table(*tabulate_splits(splits))
    print(
        f"peak TOPS at {clock:g} MHz, 2 operations per multiplier and cycle, of what fits "
        f"{budget['lut']:,.0f} LUT, {budget['dsp']:,.0f} DSP and {SHARE:.0%} of all else of a U280"
    )
    print("a peak, from counts: nothing has been placed, and no clock is claimed")


@app.command()
def build(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="ulx3s.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write; build/BOARD."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs of place and route: the best is kept.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Build the bitstream of a board: attention that checks itself, bit by bit.

    Yosys and nextpnr come from Python packages: `pip install 'qkloom[board]'`. A seed takes two
    minutes, and two run at a time; Yosys' first start takes another one or two, for its translation
    to machine code. Frequencies are nextpnr's estimates.
    """
    from .build import build_board, describe, tabulate

    with shown_progress(f"building {board}") as progress:
        made = build_board(board, output or Path("build", board), seeds=seeds, progress=progress)
    if as_json:
        print_json(made.as_dict())
        return
    print_table(*tabulate(made))
    for line in describe(made):
        print(line)


@app.command()
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


app.command()(index)
app.command()(cache)


def _read_chip(target: str, options: dict[str, str], takes: str) -> Any:
    from ..tb.errors import InputError
    from .chip import read_chip

    if options:
        raise InputError(
            f"--{next(iter(options))} is not an option of a chip, which takes {takes}; "
            f"change the description instead: `qkloom show {target} > mine.toml`"
        )
    return read_chip(target)


def _find_unit(name: str) -> Any:
    from ..tb.errors import InputError
    from .chip import preset_names
    from .mistakes import suggestion
    from .units import find_units

    known = find_units()
    if name not in known:
        presets = preset_names()
        raise InputError(
            f"{name!r} must be a preset, a .toml file or a unit"
            f"{suggestion(name, [*presets, *known])}; presets are {', '.join(presets)}; "
            f"units are {', '.join(known)}"
        )
    return known[name]


def _check_cache(chip: Any, *, has_selection: bool) -> None:
    """Refuse to draw a cache that is not there, or that has nothing to do."""
    from ..tb.errors import InputError

    if not chip.description.cache.is_there:
        raise InputError(
            f"--plot draws a cache, and {chip.name} has none; describe one: "
            "`cache = { cold_blocks = 64 }`"
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
