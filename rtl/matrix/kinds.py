"""The kinds of weight-stationary matrix units: one interface, whatever they are made of."""

from collections.abc import Mapping
from types import MappingProxyType

from .dsp import DspMatrixUnit
from .interface import WeightStationary
from .lut import LutMatrixUnit
from .stationary import MatrixUnit

__all__ = ["MATRIX_KINDS", "matrix_kind"]

MATRIX_KINDS: Mapping[str, type[WeightStationary]] = MappingProxyType(
    {"plain": MatrixUnit, "dsp": DspMatrixUnit, "lut": LutMatrixUnit}
)
"""What multiplies, and the class of the unit."""


def matrix_kind(name: str) -> type[WeightStationary]:
    """Return the unit of a kind.

    Raises
    ------
    ValueError
        When there is no such kind.
    """
    if name not in MATRIX_KINDS:
        kinds = ", ".join(map(repr, MATRIX_KINDS))
        raise ValueError(f"Matrix must be one of {kinds}, not {name!r}")
    return MATRIX_KINDS[name]
