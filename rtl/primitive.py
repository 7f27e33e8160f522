"""Blocks that a target may build from primitives of its own."""

from typing import Any

from amaranth.hdl import Module

from .component import Component

__all__ = ["Primitive"]


class Primitive(Component):
    """A block with two bodies: its twin, and what a target builds instead.

    The twin describes the block in plain Amaranth, register for register; simulators and targets
    without a better idea use it. A platform object with a method ``structure(block)`` may return
    another body, made of the target's primitives, or ``None``. Every such structure is proven equal
    to the twin, so that it makes no difference to anything but the cost.
    """

    def elaborate(self, platform: Any) -> Any:
        """Build the target's structure if it has one, else the twin."""
        structure = getattr(platform, "structure", None)
        built = None if structure is None else structure(self)
        return self.twin() if built is None else built

    def twin(self) -> Module:
        """Return the block in plain Amaranth."""
        raise NotImplementedError
