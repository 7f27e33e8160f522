"""Cell areas of a Liberty file."""

import math
import re
from pathlib import Path

from ...tb.errors import InputError

__all__ = ["read_areas"]

# Comments and strings first, so that nothing is found inside of them.
_TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"'
    r'|\bcell\s*\(\s*"?(?P<cell>[^\s")]+)"?\s*\)\s*(?=\{)'
    r'|\barea\s*:\s*"?(?P<area>[-+.\w]+)"?|(?P<brace>[{}])',
    re.DOTALL,
)


def read_areas(file: Path) -> dict[str, float]:
    """Return the area of each cell by its name.

    Raises
    ------
    InputError
        When the file is missing, or is no Liberty file of cells with areas.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"{file} must be a readable Liberty file: {error.strerror}; "
            "correct the path after liberty:"
        ) from None
    areas: dict[str, float] = {}
    cell, depth, cell_depth = "", 0, -1
    for token in _TOKEN.finditer(text):
        if token["brace"]:
            depth += 1 if token["brace"] == "{" else -1
            if depth < 0:
                break
            if depth < cell_depth:
                cell, cell_depth = "", -1
        elif token["cell"]:
            cell, cell_depth = token["cell"], depth + 1
        elif token["area"] and cell and depth == cell_depth:
            areas[cell] = _number(token["area"], file)
    if not text.lstrip().startswith(("library", "/*", "//")) or depth or not areas:
        found = "its braces do not match" if depth else f"it has {len(areas)} cells with an area"
        raise InputError(
            f"{file} must be a Liberty file of cells with areas, and {found}; "
            "get it anew, or choose another (several must be merged into one)"
        )
    return areas


def _number(text: str, file: Path) -> float:
    try:
        area = float(text)
    except ValueError:
        area = math.nan
    if not 0 <= area < math.inf:
        raise InputError(
            f"{file} must have numbers of at least 0 as areas, not {text!r}; get it anew"
        )
    return area
