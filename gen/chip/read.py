"""Descriptions of chips by name, from files, and from tables."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...tb.errors import InputError
from ..mistakes import suggestion
from .description import ChipDescription, check

__all__ = ["PRESETS", "preset_names", "read_chip"]

PRESETS = Path(__file__).parents[1] / "presets"
"""Folder of the named descriptions."""


def preset_names() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_chip(source: str | Path | Mapping[str, Any]) -> ChipDescription:
    """Read and check a description.

    Parameters
    ----------
    source : str, path or mapping
        Name of a preset, path of a TOML file, or the tables themselves.

    Raises
    ------
    InputError
        With one line for every mistake.
    """
    if isinstance(source, Mapping):
        return check(dict(source), "The description")
    if not isinstance(source, str | Path):
        raise TypeError(
            f"A chip must be a preset's name, a path of a .toml file or a mapping, not {source!r}"
        )
    path = PRESETS / f"{source}.toml"
    if str(source) not in preset_names():
        path = Path(source)
        if path.suffix != ".toml" and not path.is_file():
            raise InputError(
                f"{str(source)!r} is neither a preset nor a .toml file; presets are "
                f"{', '.join(preset_names())}{suggestion(str(source), preset_names())}"
            )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} must be a readable file: {error.strerror}; "
            f"presets are {', '.join(preset_names())}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} must be TOML in UTF-8: {error}") from None
    return check(tables, str(path))
