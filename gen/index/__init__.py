"""Blocks of keys that each block of queries attends to: chosen, compared, drawn."""

from .choose import METHODS, Index, index
from .recall import Comparison, compare_recall

__all__ = ["METHODS", "Comparison", "Index", "compare_recall", "index"]
