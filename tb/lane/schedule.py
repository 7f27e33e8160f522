"""Exact model of :mod:`qkloom.rtl.lane.schedule`: jobs become steps, steps become passes."""

from collections.abc import Iterable, Mapping

__all__ = ["passes_of", "steps_of"]

Fields = Mapping[str, int]


def steps_of(jobs: Iterable[Fields], *, size: int) -> list[dict[str, int]]:
    """Return the steps of jobs: one per tile of ``size`` keys, in turn over two banks."""
    steps: list[dict[str, int]] = []
    for job in jobs:
        n_tiles = -(-job["keys"] // size)
        steps += [
            {
                **job,
                "first": int(job["first"] and tile == 0),
                "last": int(job["last"] and tile == n_tiles - 1),
                "keys": min(size, job["keys"] - size * tile),
                "diagonal": job["diagonal"] - size * tile,
                "bank": (len(steps) + tile) % 2,
            }
            for tile in range(n_tiles)
        ]
    return steps


def passes_of(step: Fields, *, value: int) -> list[dict[str, int]]:
    """Return the passes of a step over the tiles of its keys, or of its values if ``value``."""
    names = ("first", "last", "slot", "bank", "rows", "d_tiles", "planes")
    kept = {name: step[name] for name in names if name in step}
    return [
        {**kept, "value": value, "tile": tile, "tile_last": int(tile == step["d_tiles"] - 1)}
        for tile in range(step["d_tiles"])
    ]
