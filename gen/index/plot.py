"""Pictures as SVG: selected blocks over where heads attend."""

import base64
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from ...tb.attention import Bools, Floats
from ...tb.index.report import HeadRow
from .choose import Index
from .report import title
from .svg import figure, label

__all__ = ["draw_index"]

Image = NDArray[np.uint8]

_LEFT_OUT = np.array(
    [[240, 246, 252], [198, 216, 235], [120, 166, 209], [44, 105, 168], [9, 38, 84]]
)
_SELECTED = np.array([[255, 238, 222], [253, 199, 148], [240, 139, 58], [186, 78, 8], [86, 28, 0]])
"""Colours of attention, least first: equally light, blue and orange, which all eyes tell apart."""
_OUTLINE = "#a84400"
_DECADES = 4
"""Powers of ten that colours tell apart; all that is below is as light."""
_MOST_OUTLINED = 128
"""Blocks up to which what is selected has an outline: of more it would be all that one sees."""

_GREY = ' fill="#4a545e" font-size="10"'
_MIDDLE, _END = f'{_GREY} text-anchor="middle"', f'{_GREY} text-anchor="end"'

_GAP, _TITLE, _LEFT, _HEADING, _LEGEND = 22, 34, 44, 40, 62
"""In pixels: between panels, of their titles, to the left, of the figure's title, below."""


def draw_index(found: Index) -> str:
    """Return the picture of an index: a panel for each head.

    Dark is the share of each query block's attention that a block of keys has, in float64, in a
    logarithmic scale; orange is what is selected.
    """
    n_heads = len(found.heads)
    side = 440 if n_heads == 1 else 300 if n_heads <= 4 else 216
    columns = max(math.ceil(math.sqrt(n_heads)), 1 if n_heads == 1 else 2)
    lines = -(-n_heads // columns)
    width = _LEFT + columns * (side + _GAP)
    height = _HEADING + lines * (side + _TITLE + _GAP) + _LEGEND
    masks = found.selection.reshape(-1, *found.selection.shape[-2:])
    parts = []
    for number, row in enumerate(found.heads):
        line, column = divmod(number, columns)
        left = _LEFT + column * (side + _GAP)
        top = _HEADING + line * (side + _TITLE + _GAP) + _TITLE
        parts += _panel(row, found.attended[number], masks[number], left, top, side)
    parts += _legend(_LEFT, height - _LEGEND + 12)
    return figure(width, height, title(found.report), _LEFT, parts)


def _panel(
    row: HeadRow, attended: Floats, mask: Bools, left: int, top: int, side: int
) -> list[str]:
    """Return a map with what is selected, titles above it and block numbers beside."""
    n = len(mask)
    figures = f"covered {row.covered_mass:.1%}, density {row.density:.1%}"
    parts = [
        label(f"head {row.head}: {row.pattern}", left, top - 18, ' font-weight="bold"'),
        label(figures, left, top - 5),
        (
            f'<image x="{left}" y="{top}" width="{side}" height="{side}" '
            'preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'image-rendering="optimizeSpeed" href="{_png(_pixels(attended, mask))}"/>'
        ),
    ]
    if n <= _MOST_OUTLINED:
        stroke = n * min(1.6 / side, 0.22 / n)  # in blocks, at most a fifth of one
        parts.append(
            f'<path transform="translate({left} {top}) scale({side / n:.6g})" d="{_outline(mask)}" '
            f'fill="none" stroke="{_OUTLINE}" stroke-width="{stroke:.3g}" '
            'stroke-linecap="square"/>'
        )
    parts.append(
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#8a949e"/>'
    )
    for number, x, y, style in (
        (0, left, top + side / (2 * n), _GREY),
        (n - 1, left + side, top + side - side / (2 * n), _END),
    )[: min(n, 2)]:
        parts += [label(number, x, top + side + 12, style), label(number, left - 4, y + 4, _END)]
    parts += [
        label("block of keys", left + side / 2, top + side + 12, _MIDDLE),
        (
            f'<text transform="translate({left - 6} {top + side / 2}) rotate(-90)"'
            f"{_MIDDLE}>block of queries</text>"
        ),
    ]
    return parts


def _legend(left: int, top: int) -> list[str]:
    """Return the scales of colours."""
    width, steps = 200, 60
    shares = 10 ** np.linspace(-_DECADES, 0, steps)[None]
    parts = []
    for line, (ramp, name) in enumerate(((_SELECTED, "selected"), (_LEFT_OUT, "left out"))):
        y = top + 14 * line
        parts += [
            (
                f'<image x="{left}" y="{y}" width="{width}" height="12" '
                f'preserveAspectRatio="none" href="{_png(_colors(shares, ramp))}"/>'
            ),
            f'<rect x="{left}" y="{y}" width="{width}" height="12" fill="none" stroke="#8a949e"/>',
            label(name, left + width + 8, y + 10),
        ]
    for decade in range(_DECADES + 1):
        share = f"{10.0 ** (decade - _DECADES):.2%}".replace("0%", "%").replace(".0%", "%")
        parts.append(label(share, left + width * decade / _DECADES, top + 38, _MIDDLE))
    what = "of the attention of a block of queries, in float64"
    parts.append(label(what, left + width + 20, top + 38, _GREY))
    return parts


def _pixels(attended: Floats, mask: Bools) -> Image:
    """Return a pixel for each block; white where there is none."""
    selected, left_out = (_colors(attended, ramp) for ramp in (_SELECTED, _LEFT_OUT))
    pixels: Image = np.where(mask[..., None], selected, left_out)
    pixels[np.triu_indices(len(mask), 1)] = 255
    return pixels


def _colors(share: Floats, ramp: NDArray[np.integer]) -> Image:
    """Return the colours of shares of attention, ``10**-_DECADES`` to 1."""
    level = 1 + np.log10(np.maximum(share, 10.0**-_DECADES)) / _DECADES
    place = np.clip(level, 0, 1) * (len(ramp) - 1)
    channels = [np.interp(place, np.arange(len(ramp)), channel) for channel in ramp.T]
    colors: Image = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colors


def _outline(mask: Bools) -> str:
    """Return the path around what is selected, in blocks: edges with one side selected, joined."""
    parts = []
    padded = np.pad(mask, 1)
    for across, edges in (
        (True, padded[:-1, 1:-1] != padded[1:, 1:-1]),
        (False, (padded[1:-1, :-1] != padded[1:-1, 1:]).T),
    ):
        for line, row in enumerate(edges):
            changes = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
            for start, end in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True):
                parts.append(f"M{start} {line}H{end}" if across else f"M{line} {start}V{end}")
    return "".join(parts)


def _png(pixels: Image) -> str:
    """Return an image (rows, columns, 3) as a PNG in a URL."""
    rows, columns, _ = pixels.shape
    lines = np.insert(pixels.reshape(rows, -1), 0, 0, axis=1)  # 0: a line is not filtered
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
