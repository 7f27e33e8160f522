"""Residuals of the fit, for readers: a table, and a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from qkloom.gen.estimate.model import Fit
from qkloom.gen.synthesis import COLUMNS

from .fit import CELLS, EXACT, MEDIAN, WORST, Residual, summarize
from .points import UNFITTED_LANE, UNFITTED_MATRIX, UNFITTED_PRECISION

__all__ = ["PLOT", "TABLE", "write_report"]

HERE = Path(__file__).parent
TABLE, PLOT = HERE / "residuals.md", HERE / "residuals.svg"

GROUPS = {
    "fitted": "fitted",
    "held out": "held out: a fifth, drawn by a seed",
    "size": f"a size never fitted: matrix units of {UNFITTED_MATRIX}, lanes of {UNFITTED_LANE}",
    "precision": "a precision never fitted: {} bits by {}".format(*UNFITTED_PRECISION),
}
COLORS = {"fitted": "#b8c4d0", "held out": "#1f6fb4", "size": "#d9822b", "precision": "#2e9e6b"}

HEADER = """# How far the estimator is off

Written by `make fit`; do not edit. {n} points, synthesized by Yosys {yosys} until {date}; of each,
`points.json` has the command, the digest of its hardware and the counts. Relative errors of whole
points; *worst* is the largest one of more than {cells} cells. Asked of points that are not fitted:
DSP, BRAM and URAM exact, of all else a median of at most {median:.0%} and no more than {worst:.0%}
or {cells} cells off.

![Errors of all points](residuals.svg)
"""

# Of the plot, in pixels.
_WIDTH, _HEIGHT, _MARGIN, _TITLE = 320, 200, 46, 20
_MOST = 0.2  # errors above are drawn at the border


def write_report(residuals: Sequence[Residual], fit: Fit) -> None:
    """Write the table and the plot."""
    text = HEADER.format(
        n=fit.n_points,
        yosys=fit.yosys,
        date=fit.date,
        cells=CELLS,
        median=MEDIAN,
        worst=WORST,
    )
    for group, title in GROUPS.items():
        errors = summarize(r for r in residuals if r.group == group)
        text += f"\n## {title[0].upper()}{title[1:]}\n\n{_table(errors)}"
    late = sorted(
        (r for r in residuals if r.group != "fitted" and r.off > CELLS), key=lambda r: -r.error
    )
    text += "\n## The worst that were not fitted\n\n"
    text += "| column | synthesized | estimated | error | point |\n|---|--:|--:|--:|---|\n"
    for r in late[:12]:
        text += (
            f"| {r.column} | {r.synthesized:,g} | {r.estimated:,g} | {r.error:.1%} "
            f"| `{r.command}` |\n"
        )
    TABLE.write_text(text)
    PLOT.write_text(_plot(residuals))


def _table(errors: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| column | points | median | worst | missed |", "|---|--:|--:|--:|--:|"]
    for column in COLUMNS:
        if column in errors:
            of = errors[column]
            lines.append(
                f"| {column} | {of['points']} | {of['median']:.2%} | {of['worst']:.1%} "
                f"| {of['missed']} |"
            )
    return "\n".join(lines) + "\n"


def _plot(residuals: Sequence[Residual]) -> str:
    """Return a picture for each fitted column: error over size."""
    columns = [column for column in COLUMNS if column not in EXACT]
    width, height = 2 * _WIDTH, -(-len(columns) // 2) * _HEIGHT + 24
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="10">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, column in enumerate(columns):
        left, top = number % 2 * _WIDTH, number // 2 * _HEIGHT
        of = [r for r in residuals if r.column == column and r.synthesized]
        parts += _panel(column, of, left + _MARGIN, top + _TITLE)
    for number, (group, color) in enumerate(COLORS.items()):
        x = _MARGIN + 110 * number
        parts.append(f'<circle cx="{x}" cy="{height - 10}" r="3" fill="{color}"/>')
        parts.append(f'<text x="{x + 7}" y="{height - 6}">{group}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(column: str, of: Sequence[Residual], left: int, top: int) -> list[str]:
    width, height = _WIDTH - _MARGIN - 30, _HEIGHT - _TITLE - 34
    middle = top + height / 2

    def y_of(error: float) -> float:
        return middle - max(-1.0, min(1.0, error / _MOST)) * height / 2

    parts = [
        f'<text x="{left}" y="{top - 6}" font-weight="bold">{column.upper()}</text>',
        (
            f'<rect x="{left}" y="{y_of(WORST)}" width="{width}" '
            f'height="{y_of(-WORST) - y_of(WORST)}" fill="#f3f6f9"/>'
        ),
    ]
    for error in (-WORST, -MEDIAN, 0, MEDIAN, WORST):
        y = y_of(error)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="#c8d0d8" '
            f'stroke-width="{1 if error == 0 else 0.5}"/>'
        )
        parts.append(f'<text x="{left - 5}" y="{y + 3}" text-anchor="end">{error:+.0%}</text>')
    decades = 5
    for power in range(decades + 1):
        x = left + width * power / decades
        parts.append(
            f'<text x="{x}" y="{top + height + 14}" text-anchor="middle">{10**power:,}</text>'
        )
    for group, color in COLORS.items():
        for r in of:
            if r.group == group:
                x = left + width * min(1.0, math.log10(max(r.synthesized, 1)) / decades)
                y = y_of((r.estimated - r.synthesized) / r.synthesized)
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{color}" fill-opacity="0.8"/>'
                )
    return parts
