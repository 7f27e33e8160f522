"""The arrays that proofs are about: each kind, in each precision."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from qkloom.rtl.component import Component
from qkloom.rtl.formats import I4, I8
from qkloom.rtl.matrix.dsp import DspMatrixUnit
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit

__all__ = ["ARRAYS", "FOLDING", "PRODUCTS", "Array"]


@dataclass(frozen=True)
class Array:
    """A kind of array in one precision.

    Members
    -------
    name : str
        In words.
    kind : type
        Its class.
    parameters : tuple of (str, value)
        Besides its size.
    """

    name: str
    kind: type[Component]
    parameters: tuple[tuple[str, Any], ...]

    def build(self, rows: int = 32, cols: int = 32, **more: Any) -> Any:
        """Return one of some size."""
        return self.kind(rows=rows, cols=cols, **dict(self.parameters), **more)


def _stationary(kind: str, unit: type[Component], **more: Any) -> list[Array]:
    return [
        Array(
            f"{kind}, {stream} by {weight}",
            unit,
            (("stream", stream), ("stationary", weight), *more.items()),
        )
        for stream, weight in product((I8, I4), (I8, I4))
    ]


PLAIN = _stationary("plain", MatrixUnit)
DSP = [
    *_stationary("DSP", DspMatrixUnit),
    *(
        Array(f"{array.name}, signed only", array.kind, (*array.parameters, ("mixed_signs", False)))
        for array in _stationary("DSP", DspMatrixUnit)
    ),
]
LUT = _stationary("LUT", LutMatrixUnit)
SERIAL = _stationary("LUT in series", LutMatrixUnit, planes="serial")[:2]
FOLDING = [
    Array(f"output-stationary, {kind}, {a} by {b}", OutputStationary, (
        ("multiplier", kind), ("a", a), ("b", b)
    ))
    for kind, a, b in [("lut", I8, I8), ("lut", I4, I8), ("lut", I4, I4), ("plain", I8, I8)]
]  # fmt: skip

PRODUCTS = [*PLAIN, *DSP, *LUT, *SERIAL]
"""Weight-stationary arrays."""

ARRAYS = [*PRODUCTS, *FOLDING]
