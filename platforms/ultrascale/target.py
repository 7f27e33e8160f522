"""The target: which block is built from which primitives."""

from collections.abc import Callable
from typing import Any

from ...rtl.adder import TernaryAdder
from ...rtl.matrix.dsp import PackedChain
from ...rtl.primitive import Primitive
from .carry import build_ternary_adder
from .dsp48e2 import build_packed_chain

__all__ = ["UltraScale"]

_STRUCTURES: dict[type[Primitive], Callable[[Any], Any]] = {
    PackedChain: build_packed_chain,
    TernaryAdder: build_ternary_adder,
}


class UltraScale:
    """A platform object that builds blocks from the primitives of UltraScale+.

    Hand it to an emission; components ask it for structures by themselves.
    """

    name = "xcup"
    """As Yosys calls the family."""

    def structure(self, block: Primitive) -> Any:
        """Return what ``block`` is built of here, or ``None`` if its twin is as good."""
        build = _STRUCTURES.get(type(block))
        return None if build is None else build(block)
