"""The command ``qkloom``: the Python interface, from a terminal.

Every command imports what it needs when it runs, so that help and mistakes answer at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from .cli_cache import cache
from .cli_index import index
from .cli_simulate import simulate
from .terminal import (
    AsJson,
    ChipName,
    print_json,
    print_table,
    shown_progress,
)

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


app.command()(simulate)
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
