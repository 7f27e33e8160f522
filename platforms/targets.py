"""The targets by name."""

from typing import Any

from .ultrascale import UltraScale

__all__ = ["OTHER_NAMES", "TARGETS"]

TARGETS: dict[str, Any] = {"generic": None, "ultrascale": UltraScale()}
"""What a chip may be built for: ``generic`` has no primitives of its own, so that every block is
its twin and the synthesis tool chooses."""

OTHER_NAMES = {name: of.name for name, of in TARGETS.items() if of is not None}
"""What synthesis tools call the family of a target, by its name here; commands take both."""
