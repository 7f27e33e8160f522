"""Movers: between beats of memory and rows of arrays."""

from .fetch import Fetcher
from .output import OutputMover

__all__ = ["Fetcher", "OutputMover"]
