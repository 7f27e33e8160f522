"""Stall patterns: when the surroundings of a design neither offer nor take."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FREE", "HELD", "Stall", "mix"]

# Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64.
GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Stall:
    """In which cycles a stream stalls: nothing but seed, stream and cycle decide.

    The same pattern comes out of Python and C++, whatever the design does, so that every engine
    takes the same number of cycles.

    Parameters
    ----------
    probability : float
        Share of stalled cycles, 0 to 1.
    burst : int
        Cycles are stalled, or not, in groups of this many.
    seed : int
        Another seed, another pattern.
    """

    probability: float = 0.0
    burst: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Probability must be 0 to 1, not {self.probability!r}")
        if self.burst < 1:
            raise ValueError(f"Burst must be a positive number of cycles, not {self.burst!r}")

    @property
    def threshold(self) -> int:
        """Of 2**32 hashes, how many stall."""
        return round(self.probability * (1 << 32))

    def key(self, stream: str) -> int:
        """Return the 64 bits that tell the pattern of a stream from all others."""
        digest = hashlib.sha256(f"{self.seed} {stream}".encode()).digest()
        return int.from_bytes(digest[:8], "little")

    def at(self, stream: str, cycle: int) -> bool:
        """Tell whether ``stream`` stalls in ``cycle``."""
        return mix(self.key(stream), cycle // self.burst) < self.threshold

    def pattern(self, stream: str, n_cycles: int) -> NDArray[np.bool_]:
        """Return the first cycles of the pattern; true where the stream stalls."""
        index = np.arange(n_cycles, dtype=np.uint64) // np.uint64(self.burst)
        z = np.uint64(self.key(stream)) + (index + np.uint64(1)) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)) < np.uint64(self.threshold)


FREE = Stall()
"""Never stalls."""

HELD = Stall(1.0)
"""Never offers, never takes."""


def mix(key: int, index: int) -> int:
    """Return 32 random bits: word ``index`` of the sequence that starts at ``key``."""
    z = key + (index + 1) * GOLDEN & MASK
    z = (z ^ z >> 30) * FIRST & MASK
    z = (z ^ z >> 27) * SECOND & MASK
    return (z ^ z >> 31) >> 32
