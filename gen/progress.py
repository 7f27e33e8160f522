"""How long work tells what it is doing."""

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress"]

Progress: TypeAlias = Callable[[str, float | None], None]
"""Is told each step as it begins, and while the hardware runs the share of its answers."""
