"""The command ``qkloom index``: which blocks of keys matter, and how well methods recall."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import (
    AsJson,
    Layer,
    Source,
    print_json,
    print_table,
    read_count,
    read_tensors,
    shown_progress,
    take_part,
)

__all__ = ["index"]


def index(
    chip: Annotated[
        str | None,
        typer.Argument(metavar="CHIP", help="A preset or a .toml file; u280 for a --task."),
    ] = None,
    source: Source = None,
    layer: Layer = None,
    head: Annotated[
        str | None, typer.Option(metavar="H|all", help="Query head; default all.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="N|all|N,N", help="First tokens, all by default; of a --task, contexts."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="coverage, forecast, window or dense, or all for a --task; the chip's own by "
            "default, or coverage.",
        ),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Share of the attention to be covered, 0 to 1.")
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(help="Divergence below which a head is query-aware, 0 to 1."),
    ] = None,
    min_budget: Annotated[
        int | None, typer.Option(help="Fewest tokens of block columns, and of diagonals.")
    ] = None,
    max_budget: Annotated[int | None, typer.Option(help="Most of them.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Most blocks of a forecast.")] = None,
    snr: Annotated[
        str | None,
        typer.Option(
            metavar="DB|oracle",
            help="Noise of forecasts, oracle by default: none; of a --task, several with commas.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="recall: compare methods by what they recall."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="cxxrtl, verilator or pysim.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw selected blocks over attention."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the blocks of keys that each block of queries attends to, and say how good they are.

    Per head: the blocks kept and what share of the attention is in them, how much they have in
    common with the same rule in float64 and with FlexPrefill token by token, what choosing took.
    Without --input it takes the extract of a real layer that comes with qkloom.

    With `--task recall` methods answer questions about contexts that are made up (which value
    followed this key?), for `--method all` each of them, at 4,096 to 131,072 tokens. Cycles are
    counted, not measured.

    Exit code 1 means that hardware and exact model differ.
    """
    from ..tb.files import check_writable
    from ..tb.tensors import InputError
    from .api import load
    from .index.options import read_snrs, refuse_given
    from .index.plot import draw_index
    from .index.report import describe, tabulate
    from .index.svg import write_plot

    if plot is not None:
        if plot.suffix != ".svg" or not plot.parent.is_dir():
            raise InputError(f"--plot must be a .svg file in a folder that exists, not {plot}")
        check_writable(plot)
    changes: dict[str, Any] = {
        "gamma": gamma,
        "tau": tau,
        "min_budget": min_budget,
        "max_budget": max_budget,
        "top_k": top_k,
    }
    if task is not None:
        refuse_given(
            "--task", {"--input": source, "--layer": layer, "--head": head, "--engine": engine}
        )
        changes["method"] = method or "all"
        _recall(task, chip or "u280", tokens, snr, changes, plot, as_json)
        return
    if chip is None:
        raise InputError("CHIP must be given unless there is a --task, such as `index u280-tiny`")
    if method == "all":
        raise InputError("--method all compares methods by a task; add --task recall")
    (noise,) = read_snrs(snr or "oracle", most=1)
    loaded = load(chip)
    own = loaded.description.index.method
    changes["method"] = method or ("coverage" if own == "dense" else own)
    tensors = read_tensors(source, layer)
    if source is None and tokens is None:
        most = loaded.description.index.tokens or loaded.description.tokens
        tokens = str(min(most, tensors.q.shape[-2]))
    tensors = take_part(tensors, head, tokens)
    with shown_progress(f"index of {loaded.name}") as progress:
        found = loaded.index(
            tensors.q,
            tensors.k,
            snr=noise,
            first_head=0 if head in (None, "all") else read_count(head, "--head"),
            engine=engine or "cxxrtl",
            progress=progress,
            **changes,
        )
    if plot is not None:
        write_plot(plot, draw_index(found))
    if as_json:
        print_json(found.report)
    else:
        print_table(*tabulate(found))
        for line in describe(found):
            print(line)
    raise typer.Exit(1 if found.report["bit_exact"] is False else 0)


def _recall(
    task: str,
    chip: str,
    tokens: str | None,
    snr: str | None,
    changes: Mapping[str, Any],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare methods by a task, and print what came of it."""
    from ..tb.tensors import InputError
    from .chip import read_chip
    from .index import compare_recall
    from .index.chart import draw_recall
    from .index.options import read_counts, read_snrs
    from .index.recall import SNRS
    from .index.report import describe_recall, tabulate_recall
    from .index.svg import write_plot

    if task != "recall":
        raise InputError(f"--task must be recall, not {task!r}")
    lengths = None if tokens in (None, "all") else read_counts(tokens, "--tokens")
    with shown_progress("recall") as progress:
        made = compare_recall(
            read_chip(chip),
            lengths=lengths,
            snrs=SNRS if snr is None else read_snrs(snr),
            progress=progress,
            **changes,
        )
    if plot is not None:
        write_plot(plot, draw_recall(made))
    if as_json:
        print_json(made.report)
        return
    print_table(*tabulate_recall(made))
    for line in describe_recall(made):
        print(line)
