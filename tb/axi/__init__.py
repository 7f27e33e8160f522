"""AXI in simulation: a checker of its rules, and memory that answers at random times."""

from .check import AXIChecker
from .responder import Responder

__all__ = ["AXIChecker", "Responder"]
