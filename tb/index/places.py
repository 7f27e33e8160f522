"""Codes of places: vectors whose product depends on the distance of two tokens alone.

As rotary embeddings do, a code holds sine and cosine of the place at several frequencies. The
product of two codes is 1 at distance 0 and near 0 elsewhere, by about one over the root of the
code's length: with frequencies up to half a turn a token it is sharp, with low ones a broad hill.
Attention to a distance so has to rise above all others; :meth:`Places.amplitude` says how far.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..attention import Floats
from ..errors import InputError

__all__ = ["Places", "amplitude_for"]

_AMPLITUDES = np.linspace(0, 40, 81)
"""Scores of the wanted distance that are tried; natural units, the softmax's exponents."""

_POINTS = 200
"""Distances at which sums are kept; straight lines between them."""


class Places:
    """Codes of places and what attention makes of them.

    Parameters
    ----------
    frequencies : array
        In radians a token; a code has twice as many numbers.
    tokens : int
        Places there are.
    """

    def __init__(self, frequencies: Floats, tokens: int) -> None:
        self.frequencies = np.asarray(frequencies, np.float64)
        self.tokens = tokens
        self._at = np.unique(np.geomspace(1, tokens, _POINTS).astype(int)) - 1
        self._sums: Floats | None = None

    @classmethod
    def sharp(cls, pairs: int, tokens: int, rng: np.random.Generator) -> "Places":
        """Return codes that tell neighbours apart: frequencies all over half a turn."""
        return cls(np.pi * (np.arange(pairs) + rng.random(pairs)) / pairs, tokens)

    @classmethod
    def broad(cls, pairs: int, tokens: int, width: float, rng: np.random.Generator) -> "Places":
        """Return codes whose product falls as a normal curve of that width, in tokens."""
        # One frequency from each part of the bell: fewer coincidences far away than by chance.
        parts = 0.5 + 0.5 * (np.arange(pairs) + rng.random(pairs)) / pairs
        return cls(np.array([NormalDist().inv_cdf(p) for p in parts]) / width, tokens)

    def code(self, place: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return codes (places, 2 x frequencies) of length 1; places may be negative."""
        turn = np.outer(place, self.frequencies)
        both = np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        code: NDArray[np.float32] = (both / np.sqrt(len(self.frequencies))).astype(np.float32)
        return code

    def product(self) -> Floats:
        """Return the product of two codes at each distance from 0."""
        product: Floats = np.zeros(self.tokens)
        distance = np.arange(self.tokens)
        for frequency in self.frequencies:
            product += np.cos(frequency * distance)
        product /= len(self.frequencies)
        return product

    def weights_to(self, distance: NDArray[np.integer]) -> Floats:
        """Return sums of ``exp(amplitude product)`` over distances 0 to each that is given.

        One row for each of the amplitudes that are tried, one column for each distance.
        """
        if self._sums is None:
            product = self.product()
            self._sums = np.array(
                [np.cumsum(np.exp(amplitude * product))[self._at] for amplitude in _AMPLITUDES]
            )
        return np.array([np.interp(distance, self._at, sums) for sums in self._sums])

    def amplitude_at(
        self, place: NDArray[np.integer], distance: int, odds: float
    ) -> tuple[Floats, Floats]:
        """Return how high queries must score at one distance, and what all others then weigh.

        Parameters
        ----------
        place : array
            Of the queries, ``distance`` or more.
        distance : int
            What they attend to.
        odds : float
            Wanted attention there, over that to everything else.
        """
        peak = np.exp(_AMPLITUDES)[:, None]
        others = self.weights_to(place - distance) + self.weights_to(np.array([distance]))
        others -= 2 * peak
        return amplitude_for(np.log(peak) - np.log(np.maximum(others, 1)), others, odds)

    def amplitude_near(
        self, place: NDArray[np.integer], width: int, odds: float
    ) -> tuple[Floats, Floats]:
        """Return the same for queries that attend to all distances below ``width``."""
        near = self.weights_to(np.array([width - 1]))
        others = np.maximum(self.weights_to(np.maximum(place, 2 * width)) - near, 1)
        return amplitude_for(np.log(near) - np.log(others), others, odds)


def amplitude_for(log_odds: Floats, others: Floats, odds: float) -> tuple[Floats, Floats]:
    """Return for each column the amplitude with these odds, and what others weigh with it.

    Raises
    ------
    InputError
        When no amplitude gives such odds: codes are too short to tell so many apart.
    """
    reached = np.maximum.accumulate(log_odds, axis=0)
    wanted = np.log(odds)
    if reached[-1].min() < wanted:
        raise InputError(
            "head_dim must be larger to tell so many tokens apart; take more, or fewer tokens"
        )
    amplitude = np.array([np.interp(wanted, column, _AMPLITUDES) for column in reached.T])
    weight = np.array(
        [
            np.exp(np.interp(a, _AMPLITUDES, np.log(column)))
            for a, column in zip(amplitude, np.maximum(others, 1).T, strict=True)
        ]
    )
    return amplitude, weight
