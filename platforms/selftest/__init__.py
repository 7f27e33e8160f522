"""A core that checks itself on a board: one attention call in ROM, computed again and again."""

from .contents import CORE, Contents, make_contents
from .self_test import SelfTest

__all__ = ["CORE", "Contents", "SelfTest", "make_contents"]
