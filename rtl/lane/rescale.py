"""How what a row has so far and what a step adds come together, each below its own maximum."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data

from .numerics import Numerics

__all__ = ["RESCALE", "RESCALED_SUM_STAGES", "rescaled_sums"]

RESCALE = data.StructLayout({"amount": Numerics.shift_width, "of_new": 1})
"""Right shift by ``amount`` of what a step adds (``of_new``), or else of what the row has so far.

What belongs to the higher maximum stays as it is; so one of the two shifts is always 0.
"""

RESCALED_SUM_STAGES = 3
"""Latency of :func:`rescaled_sums`."""

_FINE_WIDTH = 3


def rescaled_sums(
    m: Module, old: Sequence[Value], new: Sequence[Value], rescale: data.View, *, name: str
) -> list[Value]:
    """Return the sums of ``old`` and ``new``, all with the same ``rescale``.

    A shift rounds to nearest, ties up: the bit last shifted out is the carry-in of the sum. The two
    sides swap in front, so that one shifter does for both.

    Parameters
    ----------
    m : Module
        Gets the registers.
    old, new : sequences of Value
        Pairs of one shape, which their sum must fit.
    rescale : View
        Of ``RESCALE``; arrives with the pairs.
    name : str
        Prefix of the registers.
    """
    fine_amount = Signal(_FINE_WIDTH, name=f"{name}_amount", reset_less=True)
    coarse_amount = Signal(Numerics.shift_width, name=f"{name}_coarse_amount")
    m.d.comb += coarse_amount.eq(rescale.amount[_FINE_WIDTH:] << _FINE_WIDTH)
    m.d.sync += fine_amount.eq(rescale.amount[:_FINE_WIDTH])
    sums: list[Value] = []
    for i, (a, b) in enumerate(zip(old, new, strict=True)):
        shape = a.shape()
        # One spare bit below keeps the bit shifted out last.
        spare = Shape(shape.width + 1, shape.signed)
        moving = Signal(spare, name=f"{name}_moving_{i}")
        coarse = Signal(spare, name=f"{name}_coarse_{i}", reset_less=True)
        fine = Signal(spare, name=f"{name}_fine_{i}", reset_less=True)
        staying = [
            Signal(shape, name=f"{name}_staying_{stage}_{i}", reset_less=True) for stage in (1, 2)
        ]
        total = Signal(shape, name=f"{name}_{i}", reset_less=True)
        m.d.comb += moving.eq(Cat(Const(0, 1), Mux(rescale.of_new, b, a)))
        m.d.sync += [
            coarse.eq(moving >> coarse_amount),
            fine.eq(coarse >> fine_amount),
            staying[0].eq(Mux(rescale.of_new, a, b)),
            staying[1].eq(staying[0]),
            total.eq(((fine >> 1) + staying[1] + fine[0])[: shape.width]),
        ]
        sums.append(total)
    return sums
