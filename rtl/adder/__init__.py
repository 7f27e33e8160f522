"""Adders of three numbers, and trees of them: what turns many products into one sum."""

from .ternary import TernaryAdder
from .tree import SumTree, sum_latency

__all__ = ["SumTree", "TernaryAdder", "sum_latency"]
