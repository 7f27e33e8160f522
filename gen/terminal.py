"""What commands share: options, tensors, and how things are printed and progress is shown."""

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..tb.tensors import Tensors
    from .progress import Progress

__all__ = [
    "AsJson",
    "ChipName",
    "Layer",
    "Source",
    "print_json",
    "print_table",
    "read_count",
    "read_tensors",
    "shown_progress",
    "take_part",
]

ChipName = Annotated[str, typer.Argument(metavar="CHIP", help="A preset or a .toml file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Source = Annotated[
    Path | None, typer.Option("--input", metavar="FILE", help="Tensors: .npz or .safetensors.")
]
Layer = Annotated[int | None, typer.Option(help="Layer of a file that holds several.")]


def read_tensors(source: Path | None, layer: int | None) -> "Tensors":
    """Return the tensors of a file, or the extract that comes with qkloom.

    Raises
    ------
    InputError
        When there are none, or a layer is chosen without a file.
    """
    from ..tb.tensors import InputError, default_tensors, load_tensors

    if layer is not None and source is None:
        raise InputError(f"--layer chooses one of a file, and is {layer} without --input")
    return default_tensors() if source is None else load_tensors(source, layer)


def take_part(tensors: "Tensors", head: str | None, tokens: str | None) -> "Tensors":
    """Return one head of tensors or all of them, and of these the first tokens or all."""
    from ..tb.errors import InputError

    if head not in (None, "all"):
        number = read_count(head, "--head")
        if number >= (n_heads := tensors.q.shape[-3]):
            raise InputError(f"--head must be 0 to {n_heads - 1} or `all`, not {number}")
        tensors = tensors.take_heads(number, number + 1)
    if tokens not in (None, "all"):
        tensors = tensors.take_tokens(read_count(tokens, "--tokens"))
    return tensors


def read_count(text: str, option: str) -> int:
    """Return the number that an option was given.

    Raises
    ------
    InputError
        When it is none.
    """
    from ..tb.errors import InputError

    if not text.isdecimal():
        raise InputError(f"{option} must be a number or `all`, not {text!r}")
    return int(text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    """Return a value with null for each number that JSON lacks: an error relative to 0."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(headers: list[str], rows: list[list[str]]) -> None:
    """Print a table: with borders on a terminal, as plain lines into a pipe."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
        for row in [headers, *rows]:
            cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers)
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table)


@contextmanager
def shown_progress(task: str) -> Iterator["Progress"]:
    """Show on a terminal what is being done; the function that this gives takes each step.

    Elsewhere only what may take minutes is told: a line when a simulator is built.
    """
    if not sys.stderr.isatty():
        with _log_shown():
            yield lambda step, share: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(task, total=None)

        def tell(step: str, share: float | None) -> None:
            total = None if share is None else 1.0
            bars.update(bar, description=f"{task}: {step}", total=total, completed=share or 0.0)

        yield tell


@contextmanager
def _log_shown() -> Iterator[None]:
    log, handler = logging.getLogger("qkloom"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("qkloom: %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
