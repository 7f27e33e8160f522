"""Exact model of :mod:`qkloom.rtl.cache.outlook`: uses as it is told of them."""

from collections.abc import Iterator

from .visits import Visits

__all__ = ["uses_of_windows"]


def uses_of_windows(visits: Visits, blocks: int) -> Iterator[dict[str, int]]:
    """Yield the uses of all windows, of heads with so many blocks each, and their ends.

    A head begins with its first window that needs anything.
    """
    rows = [
        (window, block, jobs)
        for window, block, jobs in zip(
            *(row.tolist() for row in (visits.window, visits.block, visits.jobs)), strict=True
        )
    ]
    for number, (window, block, jobs) in enumerate(rows):
        yield {"block": block % blocks, "jobs": jobs, "ends": 0, "last": 0}
        following = rows[number + 1] if number + 1 < len(rows) else None
        if following is None or following[0] != window:
            last = following is None or following[1] // blocks != block // blocks
            n_ends = 1 if following is None or last else following[0] - window
            for _ in range(n_ends):
                yield {"block": 0, "jobs": 0, "ends": 1, "last": int(last)}
