"""A host and a kernel, for control registers in the Amaranth simulator."""

from .host import Host

__all__ = ["Host"]
