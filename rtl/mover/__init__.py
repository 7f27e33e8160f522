"""Movers: between beats of memory and rows of arrays."""

from .frame import Framer
from .widen import Widen

__all__ = ["Framer", "Widen"]
