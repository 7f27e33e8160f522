"""The command ``qkloom cache``: what a cache of KV blocks makes of a list of jobs."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import AsJson, print_json, print_table, shown_progress

__all__ = ["cache"]


def cache(
    jobs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Jobs: .npy, a selection as of `simulate --mask`; .csv, a line "
            "block,query_block,head and one for each job; .json, an object with kv_heads, blocks, "
            "jobs ([block, query_block, head]) and, to be checked, uses of each block.",
        ),
    ] = None,
    generate: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="Instead of a file: a made-up context whose blocks coverage selects; flat, sinks, "
            "verticals, slashes, bands, needles or mixed.",
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a made-up context; default 32768.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Block pairs (K and V of a block) that are kept.")
    ] = None,
    hot: Annotated[
        int | None, typer.Option(help="Those of the hot tier; half of --blocks by default.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="next-use, liveness, lru or none.")
    ] = None,
    lookahead: Annotated[
        int | None, typer.Option(help="Visits whose blocks are granted ahead of their use.")
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(help="Windows in which the next use of a block is known; default all."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Pairs of a query block and a head in a window.")
    ] = None,
    kv_heads: Annotated[
        int | None, typer.Option(help="Heads of keys; default 1, or what a .json file says.")
    ] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Query block i of a selection sees blocks up to i.")
    ] = False,
    chip: Annotated[
        str, typer.Option(metavar="CHIP", help="Whose cache and sizes all else is by default.")
    ] = "u280",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw occupancy and how long blocks stay."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a list of jobs through the exact model of the cache.

    Jobs come window by window, KV blocks ascending; a block that pairs of one window need is
    visited once. What is fetched stands beside no cache, LRU, and the least that any rule could
    fetch (Belady).
    """
    from ..tb.errors import InputError
    from ..tb.files import check_writable
    from .cache import generate_jobs, read_jobs, run_cache
    from .cache.plot import draw_cache
    from .cache.report import describe, tabulate
    from .chip import read_chip
    from .index.svg import write_plot

    if plot is not None:
        if plot.suffix != ".svg" or not plot.parent.is_dir():
            raise InputError(f"--plot must be a .svg file in a folder that exists, not {plot}")
        check_writable(plot)
    if jobs is not None and generate is not None:
        raise InputError("--jobs and --generate are two ways to a list; leave one of them out")
    if jobs is None and generate is None:
        raise InputError(
            "One of --jobs and --generate must be given, such as --jobs masks.npy or "
            "--generate mixed"
        )
    if tokens is not None and generate is None:
        raise InputError(f"--tokens is of a made-up context, and is {tokens} without --generate")
    if causal and generate is not None:
        raise InputError("--causal goes without --generate, whose contexts are; leave it out")
    if kv_heads is not None and kv_heads < 1:
        raise InputError(f"--kv-heads must be a positive number, not {kv_heads}")
    description = read_chip(chip)
    with shown_progress("cache") as progress:
        if jobs is not None:
            progress(f"reading {jobs.name}", None)
            listed = read_jobs(jobs, kv_heads=kv_heads, block=description.block, causal=causal)
        else:
            assert generate is not None
            length = 32768 if tokens is None else tokens
            listed = generate_jobs(
                description, generate, length, kv_heads=kv_heads or 1, progress=progress
            )
        progress("replay", None)
        made = run_cache(
            description,
            listed,
            policy=policy,
            blocks=blocks,
            hot=hot,
            lookahead=lookahead,
            horizon=horizon,
            window=window,
        )
    if plot is not None:
        write_plot(plot, draw_cache(made))
    if as_json:
        print_json(made.report)
        return
    print_table(*tabulate(made.report))
    for line in describe(made.report):
        print(line)
