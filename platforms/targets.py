"""The targets by name."""

from typing import Any

from .ultrascale import UltraScale

__all__ = ["TARGETS"]

TARGETS: dict[str, Any] = {"generic": None, "ultrascale": UltraScale()}
"""What a chip may be built for: ``generic`` has no primitives of its own, so that every block is
its twin and the synthesis tool chooses."""
