"""Random queries for the Forecast unit."""

import numpy as np

from qkloom.tb.index.forecast_exact import Query

__all__ = ["draw"]


def draw(rng, *, k_max, blocks, head_dim, width, refused=True):
    """Return a random query; some of them are refused."""
    span = rng.choice([1, 2, 128])
    elements = width * rng.integers(1, head_dim // width + 1)
    windows = int(rng.choice([0, 1, 3, rng.integers(0, 4 * blocks + 1), 4 * blocks]))
    tokens = int(rng.choice([max(16 * windows, 1), 64 * blocks, rng.integers(1, 64 * blocks + 1)]))
    position = int(rng.integers(max(tokens - 64, 0), tokens))
    k = int(rng.integers(1, k_max + 1))
    init = int(rng.integers(0, k))
    local = int(rng.integers(0, k - init))
    if refused and rng.random() < 0.2:
        kind = rng.integers(0, 5)
        k = k_max + 1 if kind == 0 else init + local if kind == 1 else k
        position = 64 * blocks if kind == 2 else position
        windows = 4 * blocks + 1 if kind == 3 else windows
        elements = head_dim + width if kind == 4 else elements
    full = rng.choice([-128, 127, 0], p=[0.5, 0.25, 0.25])
    keys = rng.integers(-span, span, (windows, elements))
    vector = rng.integers(-128, 128, elements)
    if rng.random() < 0.2:
        keys[:], vector[:] = full, 127
    there = np.flatnonzero(rng.random(blocks) < rng.choice([0, 0.2, 0.8, 1])).tolist()
    return Query(vector, keys, position, k, init, local, tuple(there))
