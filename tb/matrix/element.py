"""Exact models of :mod:`qkloom.rtl.matrix.element`: what an element adds up, cycle by cycle."""

from collections.abc import Iterable, Mapping

__all__ = ["output_sums", "stationary_sums"]

Token = Mapping[str, int]


def stationary_sums(cycles: Iterable[tuple[Token, int, int]], *, sum_width: int) -> list[int]:
    """Return ``o_sum`` in the cycle after each of these, as bits.

    Parameters
    ----------
    cycles : iterable of (token, int, int)
        ``i``, ``i_weight`` and ``i_sum`` from reset on.
    sum_width : int
        Bits of a sum.
    """
    shadow = active = 0
    sums = []
    for token, weight, above in cycles:
        sums.append(above + token["operand"] * active & (1 << sum_width) - 1)
        active = shadow if token["swap"] else active
        shadow = weight if token["load"] else shadow
    return sums


def output_sums(cycles: Iterable[tuple[Token, int]], *, sum_width: int) -> list[int]:
    """Return ``o_sum`` in the cycle after each of these, as bits.

    Parameters
    ----------
    cycles : iterable of (token, int)
        ``i`` and ``i_b`` from reset on.
    sum_width : int
        Bits of a sum.
    """
    total = 0
    sums = []
    for token, operand in cycles:
        if token["valid"]:
            total = (0 if token["first"] else total) + token["operand"] * operand
        sums.append(total & (1 << sum_width) - 1)
    return sums
