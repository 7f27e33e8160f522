"""Blocks of keys that each block of queries attends to: chosen, compared, drawn."""

from .choose import METHODS, Index, index

__all__ = ["METHODS", "Index", "index"]
