"""Exact model of :mod:`qkloom.rtl.index.selector`: the largest masses, found digit by digit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.index.code import code_width
from ...rtl.index.selector import CoverageSelector
from ..attention import Bools
from ..formats import Ints
from ..packing import Words, pack
from .code import decode, encode

__all__ = ["Ask", "Selection", "draw_ask", "select", "selector_words"]


@dataclass(frozen=True, eq=False)
class Ask:
    """A selection that is asked for; members as of :func:`select`."""

    codes: ArrayLike
    always: ArrayLike
    gamma: int
    least: int
    most: int


@dataclass(frozen=True, eq=False)
class Selection:
    """What is selected.

    Members
    -------
    taken : array of bool
        Whether each candidate is.
    count, mass : int
        Of what is taken.
    total : int
        Mass of all.
    flat : bool
        Whether all masses are equal.
    """

    taken: Bools
    count: int
    mass: int
    total: int
    flat: bool


def select(
    codes: ArrayLike,
    always: ArrayLike,
    *,
    gamma: int,
    least: int,
    most: int,
    value_width: int = 32,
    fraction: int = 11,
    digit_bits: int = 8,
) -> Selection:
    """Select candidates as the hardware does, by histograms of digits.

    Parameters
    ----------
    codes, always : array
        Of each candidate: code of its mass, and whether it is taken first, whatever it has.
    gamma : int
        Share of the mass in units of ``2**-16``; 65,536: all of them.
    least, most : int
        Fewest and most candidates.
    value_width, fraction, digit_bits : int
        As of the hardware.
    """
    codes, forced = np.asarray(codes, np.int64), np.asarray(always, bool)
    masses = decode(codes, fraction=fraction)
    total = int(masses.sum())
    target = (gamma * total + 65535) >> 16
    count, mass = int(forced.sum()), int(masses[forced].sum())

    def takes(count: int, mass: int) -> bool:
        below = gamma == 65536 or mass < target
        return (below and count < most) or count < least

    width = code_width(value_width, fraction)
    threshold = (1 << width) - 1
    for low in reversed(range(0, width, digit_bits)):
        high = min(low + digit_bits, width)
        within = ~forced & (codes >> high == threshold >> high)
        digits = codes[within] >> low & (1 << digit_bits) - 1
        counts = np.bincount(digits, minlength=1 << digit_bits)
        sums = np.zeros(1 << digit_bits, np.int64)
        np.add.at(sums, digits, masses[within])
        entry = count, mass
        for n in np.flatnonzero(counts)[::-1]:
            if not takes(count, mass):
                break
            entry = count, mass
            threshold = threshold >> high << high | int(n) << low | threshold & (1 << low) - 1
            count, mass = count + int(counts[n]), mass + int(sums[n])
        count, mass = entry

    taken = forced | (codes > threshold)
    for n in np.flatnonzero(~forced & (codes == threshold)):
        if not takes(count, mass):
            break
        taken[n] = True
        count, mass = count + 1, mass + int(masses[n])
    return Selection(taken, count, mass, total, len(np.unique(codes)) <= 1)


def selector_words(
    unit: CoverageSelector, asks: Sequence[Ask]
) -> tuple[dict[str, Words], dict[str, Words]]:
    """Return the payloads of a selector's input streams, and those of its output streams."""
    p = unit.parameters
    sizes = {name: p[name] for name in ("value_width", "fraction", "digit_bits")}
    found = [
        select(x.codes, x.always, gamma=x.gamma, least=x.least, most=x.most, **sizes) for x in asks
    ]
    lasts = [np.arange(len(x.taken))[::-1] == 0 for x in found]
    item, start, o, result = (s.payload.shape() for s in (unit.i, unit.start, unit.o, unit.result))
    of_asks = {name: [getattr(x, name) for x in asks] for name in ("gamma", "least", "most")}
    of_results = {
        name: [getattr(x, name) for x in found] for name in ("count", "mass", "total", "flat")
    }
    inputs = {
        "start": pack(start, **of_asks),
        "i": pack(
            item,
            code=np.concatenate([np.tile(x.codes, unit.passes) for x in asks]),
            always=np.concatenate([np.tile(x.always, unit.passes) for x in asks]),
            last=np.concatenate([np.tile(last, unit.passes) for last in lasts]),
        ),
    }
    outputs = {
        "o": pack(o, taken=np.concatenate([x.taken for x in found]), last=np.concatenate(lasts)),
        "result": pack(result, **of_results),
    }
    return inputs, outputs


def draw_ask(
    unit: CoverageSelector, rng: np.random.Generator, n: int, *, values: Ints | None = None
) -> Ask:
    """Draw what a selector can be asked for, with ``n`` candidates.

    Masses are of all sizes unless given, and often equal; none has more than an ``n``-th of what
    the total may be.
    """
    p = unit.parameters
    fits = ((1 << p["total_width"]) - 1) // n
    largest = min((1 << p["value_width"]) - 1, fits)
    if values is None:
        values = rng.integers(0, largest + 1, n) >> rng.integers(0, p["value_width"], n)
        kind = rng.random()
        if kind < 0.2:  # as much as there may be
            values = largest - (values >> 3)
        elif kind < 0.4:  # so little that sums often meet the target
            values &= 3
        if rng.random() < 0.5:
            values = rng.choice(values[:3], n)
    high = (1 << p["candidates"].bit_length()) - 1
    least, most = (int(rng.integers(0, min(n + 3, high + 1))) for _ in range(2))
    if rng.random() < 0.5:
        least = 0
    if rng.random() < 0.5:
        most = high
    gammas = [0, 1, 32768, 65535, 65536, *rng.integers(0, 65537, 5)]
    return Ask(
        encode(np.minimum(values, largest), fraction=p["fraction"]),
        rng.random(n) < rng.choice([0.0, 0.0, 0.2, 1.0]),
        int(rng.choice(gammas)),
        least,
        most,
    )
