"""Pictures as SVG: what methods recall, and in how many cycles, over the length of the context."""

import math

from .recall import Comparison, RecallRow
from .svg import figure, label

__all__ = ["draw_recall"]

_COLORS = {"dense": "#4a545e", "window": "#009e73", "coverage": "#d55e00"}
_FORECASTS = ("#08306b", "#2c69a8", "#56b4e9", "#9ecae1")
"""Colours of forecasts, the best one first."""

_WIDTH, _HEIGHT, _MARGIN, _TOP, _BOTTOM = 420, 300, 66, 56, 84
"""In pixels, of a panel: what is drawn on, and what is around it."""

_MIDDLE, _END = ' text-anchor="middle"', ' text-anchor="end"'


def draw_recall(made: Comparison) -> str:
    """Return the picture of a comparison: accuracy, and cycles in a logarithmic scale."""
    rows = made.rows
    methods = list(dict.fromkeys(row.method for row in rows))
    width, height = 2 * (_WIDTH + _MARGIN) + 30, _TOP + _HEIGHT + _BOTTOM
    lengths = sorted({row.tokens for row in rows})
    cycles = [math.log10(row.cycles) for row in rows]
    low, high = math.floor(min(cycles)), math.ceil(max(cycles))
    decades = range(low, max(high, low + 1) + 1)
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [
        *_panel(
            "questions answered",
            lengths,
            {share: f"{share:.0%}" for share in shares},
            {name: [(r.tokens, r.accuracy) for r in _of(rows, name)] for name in methods},
            _MARGIN,
        ),
        *_panel(
            "cycles for the whole context, counted",
            lengths,
            {float(decade): _spell(decade) for decade in decades},
            {name: [(r.tokens, math.log10(r.cycles)) for r in _of(rows, name)] for name in methods},
            2 * _MARGIN + _WIDTH,
        ),
    ]
    for number, name in enumerate(methods):
        x, y = _MARGIN + 150 * (number % 6), height - 30 + 16 * (number // 6)
        parts += [_mark(name, methods, x, y - 4), label(name, x + 10, y)]
    return figure(width, height, f"{made.report['chip']}: in-context recall", _MARGIN, parts)


def _of(rows: tuple[RecallRow, ...], method: str) -> list[RecallRow]:
    return [row for row in rows if row.method == method]


def _panel(
    heading: str,
    lengths: list[int],
    ticks: dict[float, str],
    lines: dict[str, list[tuple[int, float]]],
    left: int,
) -> list[str]:
    """Return axes, and a line with marks for each method."""
    first, last = math.log2(lengths[0]), math.log2(lengths[-1])
    low, high = min(ticks), max(ticks)

    def x_of(tokens: float) -> float:
        share = (math.log2(tokens) - first) / (last - first) if last > first else 0.5
        return left + 12 + share * (_WIDTH - 24)

    def y_of(value: float) -> float:
        return _TOP + _HEIGHT * (1 - (value - low) / (high - low))

    parts = [label(heading, left, _TOP - 12, ' font-weight="bold"')]
    for value, text in ticks.items():
        y = y_of(value)
        parts += [
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde3e8"/>',
            label(text, left - 6, y + 4, _END),
        ]
    for tokens in lengths:
        text = f"{tokens // 1024}K" if tokens % 1024 == 0 else f"{tokens:,}"
        parts.append(label(text, x_of(tokens), _TOP + _HEIGHT + 16, _MIDDLE))
    parts.append(label("tokens", left + _WIDTH / 2, _TOP + _HEIGHT + 32, _MIDDLE))
    names = list(lines)
    for name, points in lines.items():
        places = [(x_of(tokens), y_of(value)) for tokens, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="5 3"' if name.startswith("forecast") else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_color(name, names)}" '
            f'stroke-width="2"{dashes}/>'
        )
        parts += [_mark(name, names, x, y) for x, y in places]
    return parts


def _spell(decade: int) -> str:
    """Return a power of ten in words that are short."""
    unit = max(min(decade // 3, 4), 0)
    return f"{10 ** (decade - 3 * unit):,} {' KMGT'[unit]}".strip()


def _color(method: str, methods: list[str]) -> str:
    forecasts = [name for name in methods if name not in _COLORS]
    if method in _COLORS:
        return _COLORS[method]
    return _FORECASTS[min(forecasts.index(method), len(_FORECASTS) - 1)]


def _mark(method: str, methods: list[str], x: float, y: float) -> str:
    """Return a square for what is not a forecast, a circle for what is."""
    color = _color(method, methods)
    if method in _COLORS:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{color}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
