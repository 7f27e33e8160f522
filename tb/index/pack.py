"""Exact model of :mod:`qkloom.rtl.index.pack`: bits as words."""

from numpy.typing import ArrayLike

__all__ = ["pack_bits"]


def pack_bits(bits: ArrayLike, word_width: int = 32) -> list[int]:
    """Return the words of a row of bits, the first bit lowest; the last word is filled with 0."""
    row = [int(bool(bit)) for bit in bits]  # type: ignore[union-attr]
    return [
        sum(bit << k for k, bit in enumerate(row[at : at + word_width]))
        for at in range(0, len(row), word_width)
    ]
