"""How what a row has so far and what a step adds come together, each below its own maximum."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import data

from .numerics import Numerics
from .pipeline import chosen

__all__ = ["RESCALE", "RESCALED_SUM_STAGES", "rescaled_sum"]

RESCALE = data.StructLayout({"amount": Numerics.shift_width, "of_new": 1})
"""Right shift by ``amount`` of what a step adds (``of_new``), or else of what the row has so far.

What belongs to the higher maximum stays as it is; so one of the two shifts is always 0.
"""

RESCALED_SUM_STAGES = 4
"""Latency of :func:`rescaled_sum`."""


def rescaled_sum(
    m: Module,
    old: Sequence[Value],
    new: Sequence[Value],
    rescale: data.View,
    *,
    first: Value,
    turn: Value | None = None,
    name: str,
) -> Value:
    """Return the sum of ``old`` and ``new``, one of which is shifted right.

    A shift rounds to nearest, ties up: the bit last shifted out is the carry-in of the sum. The two
    sides swap in front, so that one shifter does for both; two pairs may take turns, for nothing.
    It shifts in steps of 16, 4 and 1, each a choice out of four, and adds in two halves, the upper
    one a cycle later: no carry runs through all of a wide sum.

    Parameters
    ----------
    m : Module
        Gets the registers.
    old, new : sequences of Value
        One or two pairs, all of one shape, which their sum must fit.
    rescale : View
        Of ``RESCALE``; arrives with the pair.
    first : Value
        Whether ``old`` counts as 0; arrives with the pair.
    turn : Value, optional
        Which of two pairs it is.
    name : str
        Prefix of the registers.
    """
    shape = old[0].shape()
    # One spare bit below keeps the bit shifted out last.
    spare = Shape(shape.width + 1, shape.signed)
    low_amount = Signal(4, name=f"{name}_amount", reset_less=True)
    turns = Cat(turn) if turn is not None else Cat()
    moving = Signal(spare, name=f"{name}_moving")
    coarse = Signal(spare, name=f"{name}_coarse", reset_less=True)
    fine = Signal(spare, name=f"{name}_fine", reset_less=True)
    staying = [Signal(shape, name=f"{name}_staying_{n}", reset_less=True) for n in (1, 2)]
    half = (shape.width + 1) // 2
    lower = Signal(half + 1, name=f"{name}_lower", reset_less=True)  # the carry on top
    upper = [
        Signal(shape.width - half, name=f"{name}_upper_{n}", reset_less=True) for n in range(2)
    ]
    total = Signal(shape, name=name, reset_less=True)

    def sides(*values: Value, of: str) -> Value:
        return chosen(m, values, Cat(turns, rescale.of_new), name=f"{name}_{of}")

    def shifted(value: Value, bits: Value, step: int) -> Value:
        shifts = [value >> n * step for n in range(4)]
        return chosen(m, shifts, bits, name=f"{name}_by_{step}")

    m.d.comb += moving.eq(Cat(Const(0, 1), sides(*old, *new, of="moving")))
    m.d.sync += [
        coarse.eq(shifted(moving, rescale.amount[4:], 16)),
        low_amount.eq(rescale.amount[:4]),
        fine.eq(shifted(shifted(coarse, low_amount[2:], 4), low_amount[:2], 1)),
        staying[0].eq(sides(*new, *old, of="staying")),
        staying[1].eq(staying[0]),
        lower.eq(fine[1 : half + 1] + staying[1][:half] + fine[0]),
        upper[0].eq(fine[half + 1 :]),
        upper[1].eq(staying[1][half:]),
        total.eq(Cat(lower[:half], (upper[0] + upper[1] + lower[half])[: shape.width - half])),
    ]
    # Clearing a register costs nothing, a gate in front of it a LUT per bit.
    with m.If(first & ~rescale.of_new):
        m.d.sync += coarse.eq(0)
    with m.If(first & rescale.of_new):
        m.d.sync += staying[0].eq(0)
    return total
