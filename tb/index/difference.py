"""Exact model of :mod:`qkloom.rtl.index.difference`: what two lists differ in."""

from collections.abc import Sequence

__all__ = ["differences"]


def differences(chosen: Sequence[int], resident: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return what only the first list has, and what only the second has, ascending."""
    load, evict = set(chosen) - set(resident), set(resident) - set(chosen)
    return sorted(load), sorted(evict)
