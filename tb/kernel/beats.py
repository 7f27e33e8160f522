"""Bytes of what moves in whole beats."""

from ...rtl.kernel.kernel import Kernel

__all__ = ["whole_beats"]


def whole_beats(kernel: Kernel, elements: int, width: int) -> int:
    """Return the bytes of the beats that so many elements of ``width`` bits take."""
    beat: int = kernel.parameters["data_width"]
    return -(-elements * width // beat) * beat // 8
