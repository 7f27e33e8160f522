"""Text files with a few named places, as they lie beside the code."""

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

__all__ = ["check_name", "fill", "tcl_list"]

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class _Places(Template):
    """``@{name}`` is a place: Tcl has the dollar sign for itself."""

    delimiter = "@"
    pattern = r"@(?:(?P<escaped>@)|(?P<named>(?!))|\{(?P<braced>[a-z_]+)\}|(?P<invalid>(?!)))"  # type: ignore[assignment]


def fill(template: Path, **places: object) -> str:
    """Return the text of a template with all its places filled.

    Raises
    ------
    KeyError, ValueError
        When a place has no text, or a text no place.
    """
    text = template.read_text(encoding="utf-8")
    named = set(re.findall(r"@\{([a-z_]+)\}", text))
    if unused := sorted(set(places) - named):
        raise ValueError(f"{template.name} has no place for {', '.join(unused)}")
    return _Places(text).substitute(places)


def tcl_list(words: Iterable[str]) -> str:
    """Return words as the inside of a braced Tcl list, a line each.

    Raises
    ------
    ValueError
        When a word is empty or has a blank, a brace, a quote, a semicolon or a sign that Tcl
        replaces.
    """
    lines = []
    for word in words:
        if not word or re.search(r"[\s{}\"\\$;]", word):
            raise ValueError(f"A word must be without blanks and signs of Tcl, not {word!r}")
        lines.append(f"    {word}\n")
    return "\n" + "".join(lines) if lines else ""


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it is an identifier; else ``kind`` starts a message."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{kind} must be an identifier, not {name!r}")
    return name
