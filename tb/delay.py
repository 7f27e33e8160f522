"""Exact model of :mod:`qkloom.rtl.delay`."""

from collections.abc import Sequence

__all__ = ["skew"]


def skew(words: Sequence[int], *, width: int, lanes: int, falling: bool) -> list[int]:
    """Return what leaves a skew while ``words`` enter it; a word per cycle, zeros before."""
    delays = [lanes - 1 - lane if falling else lane for lane in range(lanes)]
    mask = (1 << width) - 1
    return [
        sum(
            (words[cycle - delay] >> lane * width & mask) << lane * width
            for lane, delay in enumerate(delays)
            if cycle >= delay
        )
        for cycle in range(len(words))
    ]
