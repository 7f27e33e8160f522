"""Pictures as SVG: how full the cache is, and how long blocks stay."""

import numpy as np

from ...tb.cache.life import Stay, occupancy, stays_of
from ...tb.cache.visits import Integers
from ..index.svg import figure, label
from .report import title
from .run import CacheRun

__all__ = ["draw_cache"]

_HOT, _COLD = "#d55e00", "#2c69a8"
_WIDTH, _FILLED, _MARGIN, _TOP, _GAP, _BOTTOM = 880, 150, 66, 76, 52, 76
"""In pixels: of both panels, height of the upper one, and what is around them."""

_TALLEST = 480
"""Pixels of the lower panel at most; below one a slot they run into one another."""

_MOST_STEPS = 1760
"""Steps of a line: two a pixel; of more visits the fullest of each step is drawn."""

_MOST_BARS = 20_000
"""Stays up to which all are drawn; of more, the longest."""

_MIDDLE, _END = ' text-anchor="middle"', ' text-anchor="end"'


def draw_cache(made: CacheRun) -> str:
    """Return the picture of a replay, over its visits.

    Above, the slots that hold a block, cold ones upon hot ones. Below, a bar for each stay of a
    block in a slot: hot slots above, darker the more visits found the block.
    """
    replay, rules = made.replay, made.replay.rules
    n, slots = len(replay.visits), max(rules.slots, 1)
    stays = stays_of(replay)
    hot, cold = occupancy(stays, replay)
    pitch = min(max(320 / slots, 0.75), 20, _TALLEST / slots)
    bars = slots * pitch
    lower = _TOP + _FILLED + _GAP
    height = lower + bars + _BOTTOM
    of = made.report["cache"]
    subtitle = (
        f"{of['visits']:,} visits, {of['hit_rate']:.1%} of them hits; {of['misses']:,} fetches, "
        f"{of['bypasses']:,} not kept; {of['evictions']:,} evictions"
    )
    parts = [
        label(subtitle, _MARGIN, 40, ' fill="#4a545e"'),
        *_occupancy(hot, cold, slots, n),
        *_axis(lower, bars, {0: 0, slots - 1: slots - 1} if rules.slots else {}, pitch),
        label("slot, and the stays of blocks in it", _MARGIN, lower - 8, ' font-weight="bold"'),
        *_stays(stays, made, lower, pitch, n),
    ]
    if 0 < rules.hot < rules.slots:
        y = lower + rules.hot * pitch
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_MARGIN + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#20262c" stroke-dasharray="4 3"/>'
        )
    for visit in _ticks(n):
        parts.append(label(f"{visit:,}", _x(visit, n), lower + bars + 16, _MIDDLE))
    parts.append(label("visits", _MARGIN + _WIDTH / 2, lower + bars + 32, _MIDDLE))
    parts += _legend(lower + bars + 50)
    return figure(_WIDTH + 2 * _MARGIN, height, title(made.report), _MARGIN, parts)


def _occupancy(hot: Integers, cold: Integers, slots: int, n: int) -> list[str]:
    """Return both tiers as areas, one upon the other."""
    step = -(-n // _MOST_STEPS)
    starts = np.arange(0, n, step)
    of_hot, of_all = (np.maximum.reduceat(x, starts) for x in (hot, hot + cold))
    parts = [
        *_axis(
            _TOP, _FILLED, {slots: 0, slots // 2: slots - slots // 2, 0: slots}, _FILLED / slots
        ),
        label("slots with a block", _MARGIN, _TOP - 8, ' font-weight="bold"'),
    ]
    for filled, color in ((of_all, _COLD), (of_hot, _HOT)):
        if not filled.any():
            continue
        path = [f"M{_MARGIN} {_TOP + _FILLED}"]
        for first, value in zip(starts.tolist(), filled.tolist(), strict=True):
            end = _x(min(first + step, n), n)
            path.append(f"V{_TOP + _FILLED * (1 - value / slots):.1f}H{end:.1f}")
        path.append(f"V{_TOP + _FILLED}Z")
        parts.append(f'<path d="{"".join(path)}" fill="{color}"/>')
    return parts


def _stays(stays: list[Stay], made: CacheRun, top: float, pitch: float, n: int) -> list[str]:
    """Return a bar for each stay: as light as nothing that found it, dark from eight visits on."""
    if len(stays) > _MOST_BARS:
        stays = sorted(stays, key=lambda stay: stay.first - stay.end)[:_MOST_BARS]
    parts = []
    for stay in stays:
        x, end = _x(stay.first, n), _x(stay.end, n)
        color = _HOT if stay.slot < made.replay.rules.hot else _COLD
        shade = 0.25 + 0.75 * min(stay.hits, 8) / 8
        edge = pitch * 0.12 if pitch > 3 else 0
        # A white line at its end parts it from the next one.
        width = max(end - x - (0.6 if end - x > 2 else 0), 0.3)
        parts.append(
            f'<rect x="{x:.1f}" y="{top + stay.slot * pitch + edge:.2f}" width="{width:.1f}" '
            f'height="{pitch - 2 * edge:.2f}" fill="{color}" fill-opacity="{shade:.2f}"/>'
        )
    return parts


def _axis(top: float, height: float, ticks: dict[int, int], pitch: float) -> list[str]:
    """Return a frame with numbers to the left; ``ticks`` are their places in steps of ``pitch``."""
    place = f'x="{_MARGIN}" y="{top:.1f}" width="{_WIDTH}" height="{height:.1f}"'
    parts = [f'<rect {place} fill="#f4f6f8" stroke="#8a949e"/>']
    for number, step in ticks.items():
        parts.append(label(f"{number:,}", _MARGIN - 6, top + step * pitch + 4, _END))
    return parts


def _legend(y: float) -> list[str]:
    """Return what colours mean."""
    parts, x = [], float(_MARGIN)
    for color, text in ((_HOT, "hot tier"), (_COLD, "cold tier")):
        parts += [
            f'<rect x="{x}" y="{y:.1f}" width="10" height="10" fill="{color}"/>',
            label(text, x + 15, y + 9),
        ]
        x += 90
    parts.append(label("bars: light, no visit found the block; dark, eight or more", x, y + 9))
    return parts


def _ticks(n: int) -> list[int]:
    """Return up to seven round numbers from 0 to ``n``."""
    step = next(k * 10**e for e in range(12) for k in (1, 2, 5) if n <= 6 * k * 10**e)
    return list(range(0, n + 1, step))


def _x(visit: float, n: int) -> float:
    return _MARGIN + _WIDTH * visit / n
