"""What pictures have in common: SVG, written by hand, as long as there is no library to draw."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from ...tb.files import written_aside

__all__ = ["figure", "label", "write_plot"]


def figure(width: float, height: float, title: str, left: float, parts: Iterable[str]) -> str:
    """Return a picture of ``parts`` on white, its title at the top."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        label(title, left, 22, ' font-size="14" font-weight="bold"'),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def label(text: object, x: float, y: float, style: str = "") -> str:
    """Return a text; ``style`` are attributes, a space before each."""
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{escape(str(text))}</text>'


def write_plot(path: Path, picture: str) -> None:
    """Write a picture, whole or not at all."""
    with written_aside(path) as part:
        part.write_text(picture, encoding="utf-8")
