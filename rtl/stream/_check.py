"""The check that the constructors of stream parts share."""

from typing import Any

__all__ = ["check_count"]


def check_count(name: str, value: Any) -> int:
    """Return ``value`` when it is an integer of at least 1; ``name`` starts the message if not."""
    message = f"{name} must be a positive integer, not {value!r}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if value < 1:
        raise ValueError(message)
    return value
