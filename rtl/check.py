"""The check that constructors share."""

from typing import Any

__all__ = ["check_count"]


def check_count(name: str, value: Any, *, most: int | None = None) -> int:
    """Return ``value`` if it is an integer from 1 to ``most``; else ``name`` starts a message."""
    message = f"{name} must be a positive integer, not {value!r}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if value < 1:
        raise ValueError(message)
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value!r}")
    return value
