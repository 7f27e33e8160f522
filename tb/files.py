"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

__all__ = ["check_writable", "explained", "written_aside"]


def check_writable(path: str | Path) -> None:
    """See whether a file can be written, before the work that leads to it; leave no trace.

    Raises
    ------
    InputError
        When it cannot.
    """
    part = _part(path)
    with explained(path):
        part.open("wb").close()
        part.unlink()


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Give a file to write beside ``path``, and put it in its place at the end.

    What is there stays until then, and for good if the block raises.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    check_writable(path)
    part = _part(path)
    try:
        yield part
        with explained(path):
            part.replace(Path(path).resolve())
    finally:
        with suppress(OSError):  # gone already, or never there
            part.unlink()


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn whatever prevents that a file is written into one message."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} must be a file that can be written: {error.strerror or error}; "
            "choose another path"
        ) from error


def _part(path: str | Path) -> Path:
    """Return the file beside ``path``; a link stays one, and what it leads to is replaced."""
    target = Path(path).resolve()
    with explained(path):
        if target.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(None, "it is protected from writing")
    return target.with_name(f"{target.name}.part")
