"""The target: which block is built from which primitives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...rtl.adder import TernaryAdder
from ...rtl.matrix.booth import Accumulator, BoothProduct
from ...rtl.matrix.dsp import PackedChain
from ...rtl.matrix.table import SubsetTable
from ...rtl.primitive import Primitive
from ...rtl.product import Product
from .booth import build_accumulator, build_booth_product
from .carry import build_ternary_adder
from .dsp48e2 import build_packed_chain, build_product
from .table import build_subset_table

__all__ = ["UltraScale"]

_STRUCTURES: dict[type[Primitive], Callable[[Any], Any]] = {
    Accumulator: build_accumulator,
    BoothProduct: build_booth_product,
    PackedChain: build_packed_chain,
    Product: build_product,
    SubsetTable: build_subset_table,
    TernaryAdder: build_ternary_adder,
}


class UltraScale:
    """A platform object that builds blocks from the primitives of UltraScale+.

    Hand it to an emission; components ask it for structures by themselves.
    """

    name = "xcup"
    """As Yosys calls the family."""

    @property
    def models(self) -> dict[str, str]:
        """Verilog models of the primitives, by name: for simulators and proofs, not synthesis."""
        files = sorted((Path(__file__).parent / "sim").glob("*.v"))
        return {file.stem: file.read_text(encoding="utf-8") for file in files}

    def structure(self, block: Primitive) -> Any:
        """Return what ``block`` is built of here, or ``None`` if its twin is as good."""
        build = _STRUCTURES.get(type(block))
        return None if build is None else build(block)
